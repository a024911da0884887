"""What runs in a rolling upgrade: images as programs of this machine."""

import os
import sys

from iam4kube.sandbox.sts.server import Sts
from tests.support.node_agent_api import Object
from tests.support.node_agent_images import Image, Images

SERVER, ROUTER = "iam4kube", "ip2service"
"""The namespaces, and the Deployment and the DaemonSet in them."""
NEVER_READY = "never-ready"
"""A tag of the server's image."""
_NOWHERE = "http://127.0.0.1:9"


def images() -> Images:
    """Both programs by their images' names, a version of the server that never becomes ready, and clients."""
    no_files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return Images(
        {
            SERVER: Image(environment=no_files),
            # It starts, serves its health, and calls an STS that is not there: so it does not take over.
            f"{SERVER}:{NEVER_READY}": Image(environment=no_files, more_arguments=(f"--sts-endpoint-url={_NOWHERE}",)),
            ROUTER: Image(),
            "client": Image(entrypoint=(sys.executable, "-P"), environment=no_files),
        }
    )


def server_settings(sts: Sts) -> Object:
    """What a test changes in the Deployment: where STS is."""
    environment = [{"name": "IAM4KUBE_STS_ENDPOINT_URL", "value": sts.url}]
    return {"spec": {"template": {"spec": {"containers": [{"name": SERVER, "env": environment}]}}}}
