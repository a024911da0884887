"""From settings to an open client."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from iam4kube.kube.client import KubeClient
from iam4kube.kube.configuration import find_configuration
from iam4kube.kube.errors import KubeConfigError
from iam4kube.kube.settings import ClusterSettings
from iam4kube.runtime.mistakes import SettingsError


def new_client(settings: ClusterSettings, environ: Mapping[str, str], *, user_agent: str) -> KubeClient:
    """A client of the API server that the settings name. Reads no file yet."""
    configuration = find_configuration(kubeconfig=settings.kubeconfig, context=settings.context, environ=environ)
    return KubeClient(configuration, user_agent=user_agent)


@asynccontextmanager
async def opened(client: KubeClient) -> AsyncIterator[KubeClient]:
    """The client, with its configuration loaded. Asks the API server nothing yet. Raises `SettingsError`."""
    try:
        await client.__aenter__()
    except KubeConfigError as error:
        raise SettingsError([str(error)]) from error
    try:
        yield client
    finally:
        await client.__aexit__(None, None, None)
