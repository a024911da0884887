"""boto3's STS client as this server needs it, and the two kinds of credentials it signs with.

One thread-safe client for all threads. Its own retries are off: the limiter counts every request. What botocore
resolves when a client is made, and never again, is resolved here at each call: the credentials until there are some.
Which region is called is found separately, with the instance metadata as a last resort.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, NoCredentialsError
from botocore.utils import IMDSRegionProvider

from iam4kube import __version__
from iam4kube.runtime.mistakes import SettingsError

if TYPE_CHECKING:
    from types_boto3_sts.client import STSClient

_CONNECT_TIMEOUT = 3.0  # seconds; a lost SYN is sent again after one
_READ_TIMEOUT = 5.0  # for each read; a regional AssumeRole takes 0.05 to 0.5 s
_CHAIN_RETRY = 5.0  # asking an instance metadata service that is not there takes seconds, too


class _Chain(Protocol):
    def load_credentials(self) -> Any: ...


class SigningCredentials(Protocol):
    """What botocore signs with."""

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The credentials for one request. Called in any thread."""
        ...

    def get_deferred_property(self, _name: str) -> Callable[[], str | None]:
        """Further properties, for services with endpoints by account. STS is none."""
        return _none


def _none() -> None:
    return None


class ChainCredentials(SigningCredentials):
    """boto3's credential chain, asked again as long as it finds nothing: an instance's role may come late.

    A client made while there are no credentials would never have any. Used by the calling threads, hence the lock.
    """

    method = "chain"

    def __init__(self, chain: _Chain) -> None:
        self._chain = chain
        self._lock = threading.Lock()
        self._found: SigningCredentials | None = None
        self._ask_again_at = 0.0

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The credentials for one request. Raises `NoCredentialsError`, and what refreshing them raises."""
        with self._lock:
            found = self._found = self._found or self._ask()
        return found.get_frozen_credentials()

    def _ask(self) -> SigningCredentials:
        if time.monotonic() < self._ask_again_at:
            raise NoCredentialsError
        found: SigningCredentials | None = self._chain.load_credentials()
        if found is None:
            self._ask_again_at = time.monotonic() + _CHAIN_RETRY
            raise NoCredentialsError
        return found


class SessionCredentials(SigningCredentials):
    """A session that the event loop replaces from time to time, as one object: no thread sees half of it."""

    method = "assumed-role"

    def __init__(self) -> None:
        self._current: ReadOnlyCredentials | None = None

    def replace(self, *, access_key_id: str, secret_access_key: str, session_token: str) -> None:
        """Sign with this session from now on."""
        self._current = ReadOnlyCredentials(access_key_id, secret_access_key, session_token)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The credentials for one request. Raises `NoCredentialsError` before the first session."""
        if self._current is None:
            raise NoCredentialsError
        return self._current


class _Fixed:
    """Takes the place of a session's credential chain."""

    def __init__(self, credentials: SigningCredentials) -> None:
        self._credentials = credentials

    def load_credentials(self) -> SigningCredentials:
        return self._credentials


@contextlib.contextmanager
def _aws_mistakes() -> Iterator[None]:
    """Turn what botocore says of its configuration into a `SettingsError`."""
    try:
        yield
    except BotoCoreError as error:
        text = " ".join(str(error).split())
        raise SettingsError(
            [f"AWS configuration: {text}; correct --sts-region, AWS_REGION, AWS_PROFILE or AWS_CONFIG_FILE"]
        ) from error


@_aws_mistakes()
def configured_region(region: str | None) -> str | None:
    """The region whose STS is called: as set, or of the environment or AWS configuration. Raises `SettingsError`."""
    # The SDKs' AWS_REGION, which EKS sets for pods, is not one of botocore's.
    found = region or os.environ.get("AWS_REGION") or botocore.session.get_session().get_config_variable("region")
    return str(found) if found else None


@_aws_mistakes()
def instance_region() -> str | None:
    """The region that this instance runs in; None where its metadata service does not answer. Blocks for up to two
    seconds.
    """
    found = IMDSRegionProvider(botocore.session.get_session()).provide()
    return str(found) if found else None


def asks_instance() -> bool:
    """Whether the instance metadata service may be asked: what turns it off for all SDKs turns it off here."""
    return os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true"


@_aws_mistakes()
def sts_client(
    *, region: str, endpoint_url: str | None, connections: int, credentials: SigningCredentials | None = None
) -> "STSClient":
    """A client for the regional STS or another endpoint, with boto3's credential chain or other credentials.

    Raises `SettingsError`.
    """
    session = botocore.session.get_session()
    session.set_config_variable("sts_regional_endpoints", "regional")
    signing = credentials or ChainCredentials(session.get_component("credential_provider"))
    session.register_component("credential_provider", _Fixed(signing))
    config = Config(
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=connections,
        tcp_keepalive=True,
        user_agent_extra=f"iam4kube/{__version__}",
    )
    return boto3.Session(botocore_session=session).client(
        "sts", region_name=region, endpoint_url=endpoint_url, config=config
    )
