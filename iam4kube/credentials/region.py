"""Which region's STS is called: as configured, or where this instance runs.

A pod that starts on a server's node may not reach the instance metadata service yet: the router lets it through once
its address is in the Service's EndpointSlice, and the kubelet writes that a second or two after the start; and nobody
in the first two minutes after a node's boot. So the instance is asked for a while. To give up at once would restart
every new pod.
"""

import asyncio
import logging

from iam4kube.credentials.sts_client import asks_instance, configured_region, instance_region
from iam4kube.runtime.mistakes import SettingsError

_PATIENCE = 150.0  # seconds: the two minutes and some; the startup probe of the manifests allows for 180
_PAUSE = 0.5  # seconds; a refusal comes at once

logger = logging.getLogger(__name__)


async def find_region(region: str | None) -> str:
    """The region as set, of the environment, of the AWS configuration, or of this instance.

    Waits for the instance metadata service for up to 150 s. Raises `SettingsError`.
    """
    found = await asyncio.to_thread(configured_region, region)
    if found is None and asks_instance():
        found = await _instance_region()
    if found is None:
        raise SettingsError(
            ["no AWS region: set --sts-region or IAM4KUBE_STS_REGION or AWS_REGION, such as eu-central-1"]
        )
    return found


async def _instance_region() -> str | None:
    loop = asyncio.get_running_loop()
    end = loop.time() + _PATIENCE
    told = False
    while (found := await asyncio.to_thread(instance_region)) is None and loop.time() < end:
        if not told:
            hint = "set --sts-region or AWS_REGION, or let this pod reach the instance metadata service"
            logger.info("Waiting for the instance metadata service to tell the region", extra={"hint": hint})
            told = True
        await asyncio.sleep(_PAUSE)
    return found
