"""The life of one replica's process: from settings to exit code."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from iam4kube import __version__
from iam4kube.credentials.pace import Pace
from iam4kube.credentials.sts import AssumeRoleSource
from iam4kube.kube.connection import new_client, opened
from iam4kube.runtime.clock import Now, utc_now
from iam4kube.runtime.descriptors import raise_descriptor_limit
from iam4kube.runtime.garbage import freeze_until
from iam4kube.runtime.lifecycle import StopStep, run_last, run_until, stop_on_signals
from iam4kube.runtime.logs import configure_logging
from iam4kube.runtime.metrics import new_registry
from iam4kube.runtime.settings import unknown_variables
from iam4kube.runtime.tasks import Supervisor, TaskDied
from iam4kube.server.assembly import Replica
from iam4kube.server.metadata_api import load_keyring
from iam4kube.server.settings import PREFIX, CredentialSettings, ServerSettings

logger = logging.getLogger(__name__)

_EXIT_FAILED = 1
# Beside pods' connections: watches, live reads, events, calls to STS, operators' connections.
_OTHER_DESCRIPTORS = 512


def serve(settings: ServerSettings, environ: Mapping[str, str]) -> int:
    """Run one replica until it is told to stop. Returns the exit code; raises `SettingsError` for mistakes."""
    configure_logging(settings.logs.log_format, settings.logs.log_level)
    for line in unknown_variables(ServerSettings, environ, PREFIX):
        logger.warning("Unknown environment variable", extra={"hint": line})
    _provide_descriptors(settings.metadata.max_connections)
    code = 0
    try:
        run_last(_serve(settings, environ))
    except* TaskDied:  # logged where it died; the kubelet starts the process again
        code = _EXIT_FAILED
    return code


def _provide_descriptors(connections: int) -> None:
    """Without a descriptor neither a pod's connection nor a call to STS or Kubernetes can be opened."""
    available, needed = raise_descriptor_limit(), connections + _OTHER_DESCRIPTORS
    if available < needed:
        extra = {"available": available, "needed": needed, "hint": "raise the limit (ulimit -n), or lower the setting"}
        logger.warning("Too few file descriptors for --max-connections", extra=extra)


async def _serve(settings: ServerSettings, environ: Mapping[str, str]) -> None:
    with stop_on_signals() as stop:
        await run_until(stop, _running_replica(settings, environ))
    logger.info("Stopped")


@asynccontextmanager
async def _running_replica(settings: ServerSettings, environ: Mapping[str, str]) -> AsyncIterator[Sequence[StopStep]]:
    async with open_replica(settings, environ) as replica, Supervisor() as tasks:
        tasks.start("garbage", freeze_until(lambda: replica.synced))
        await replica.start(tasks)
        yield replica.stop_steps()


@asynccontextmanager
async def open_replica(
    settings: ServerSettings, environ: Mapping[str, str], *, now: Now = utc_now
) -> AsyncIterator[Replica]:
    """A replica with its connections to Kubernetes and STS, and its addresses bound; nothing runs yet.

    Raises `SettingsError`.
    """
    keyring = load_keyring(settings.metadata, now=now)
    registry = new_registry(program="iam4kube", version=__version__)
    pace = Pace(rate=settings.credentials.sts_rate, burst=settings.credentials.sts_burst)
    async with (
        opened(new_client(settings.kubernetes, environ, user_agent=f"iam4kube/{__version__}")) as client,
        _source(settings.credentials, pace=pace, now=now) as source,
    ):
        replica = Replica(
            settings,
            client=client,
            source=source,
            pace=pace,
            keyring=keyring,
            now=now,
            registry=registry,
            name=environ.get("HOSTNAME", ""),  # of a container: its pod's name
        )
        replica.bind()
        yield replica


def _source(settings: CredentialSettings, *, pace: Pace, now: Now) -> AssumeRoleSource:
    return AssumeRoleSource(
        admit=pace.acquire,
        now=now,
        region=settings.sts_region,
        endpoint_url=settings.sts_endpoint_url,
        assume_role_arn=None if settings.assume_role_arn is None else settings.assume_role_arn.arn,
        session_duration=settings.session_duration,
    )
