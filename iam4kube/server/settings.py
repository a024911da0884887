"""Every setting of the server: each is a flag of `iam4kube serve` and an environment variable, checked at start.

The defaults are those of a production replica; what has no safe default (the token keys) is required.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iam4kube.kube.settings import ClusterSettings
from iam4kube.roles import InvalidRole, Role, parse_role_arn
from iam4kube.runtime.log_settings import LogSettings
from iam4kube.runtime.parsing import (
    ListenAddress,
    boolean,
    bounded,
    choice,
    duration,
    future_file,
    listen_address,
    number,
    positive_integer,
    text,
    url,
)
from iam4kube.runtime.settings import section, setting

PREFIX = "IAM4KUBE_"


def assumed_role(value: str) -> Role:
    """A role ARN of a setting. Raises `ValueError` with what is expected."""
    try:
        return parse_role_arn(value)
    except InvalidRole:
        raise ValueError("expected a role ARN such as arn:aws:iam::123456789012:role/iam4kube") from None


@dataclass(frozen=True, kw_only=True)
class MetadataSettings:
    """How pods ask."""

    listen: ListenAddress = setting(
        ":8080", parse=listen_address, metavar="ADDRESS", help="Where pods' metadata requests arrive."
    )
    token_key_file: Path | None = setting(
        None,
        parse=future_file,
        metavar="FILE",
        help="Keys that sign IMDSv2 tokens, the same file on all replicas; "
        "make one with `iam4kube token-key new FILE`. Re-read when it changes.",
    )
    generate_token_key: bool = setting(
        "false",
        parse=boolean,
        help="Make a token key up at start. Only for one replica that may lose its clients' tokens at a restart.",
    )
    imds_tokens: str = setting(
        "optional",
        parse=choice("optional", "required"),
        metavar="optional|required",
        help="Whether requests without an IMDSv2 token are answered, as EC2's HttpTokens.",
    )
    request_deadline: float = setting(
        "15s",
        parse=bounded(duration, minimum="1s", maximum="20s"),
        metavar="DURATION",
        help="How long a request may wait for its pod, ServiceAccount or credentials.",
    )
    max_connections: int = setting(
        "10000", parse=positive_integer, metavar="COUNT", help="Open connections at a time, 10 kB each."
    )
    max_connections_per_source: int = setting(
        "100", parse=positive_integer, metavar="COUNT", help="Open connections of one source address."
    )
    max_waiting: int = setting("5000", parse=positive_integer, metavar="COUNT", help="Requests that wait at a time.")
    max_waiting_per_source: int = setting(
        "50", parse=positive_integer, metavar="COUNT", help="Waiting requests of one source address."
    )

    def check(self) -> Iterator[str]:
        """Exactly one way to the token keys."""
        if self.token_key_file is None and not self.generate_token_key:
            yield (
                "--token-key-file or IAM4KUBE_TOKEN_KEY_FILE is required: make one with `iam4kube token-key new FILE` "
                "and mount it into every replica; for a single replica, --generate-token-key will do"
            )
        if self.token_key_file is not None and self.generate_token_key:
            yield "--token-key-file and --generate-token-key exclude each other: leave one of them out"


@dataclass(frozen=True, kw_only=True)
class KubernetesSettings(ClusterSettings):
    """Where the cluster is, and how long it may be silent."""

    max_stale: float = setting(
        "15m",
        parse=bounded(duration, minimum="2m"),
        metavar="DURATION",
        help="How long known pods are served while the API server cannot be reached.",
    )


@dataclass(frozen=True, kw_only=True)
class CredentialSettings:
    """Where credentials come from."""

    sts_region: str | None = setting(
        None,
        parse=text,
        metavar="REGION",
        help="The region whose STS is called; otherwise that of the AWS configuration (AWS_REGION, instance metadata).",
    )
    sts_endpoint_url: str | None = setting(
        None, parse=url, metavar="URL", help="Another STS endpoint, such as a VPC endpoint."
    )
    assume_role_arn: Role | None = setting(
        None,
        parse=assumed_role,
        metavar="ARN",
        help="A role to assume first, which then assumes the pods' roles. AWS caps such sessions at 1 h.",
    )
    session_duration: float = setting(
        "1h",
        # Under 55 minutes a refresh at half the lifetime leaves less than the 25 minutes that clients need.
        parse=bounded(duration, minimum="55m", maximum="12h"),
        metavar="DURATION",
        help="Lifetime of the pods' credentials. The roles' own maximum must allow it.",
    )
    sts_rate: float = setting(
        "10", parse=bounded(number, minimum="0.1"), metavar="RATE", help="STS calls per second, retries included."
    )
    sts_burst: int = setting(
        "20", parse=positive_integer, metavar="COUNT", help="STS calls at once after a quiet time."
    )

    def check(self) -> Iterator[str]:
        """Role chaining: AWS refuses sessions of over an hour (AssumeRole, DurationSeconds)."""
        if self.assume_role_arn is not None and self.session_duration > 3600:
            yield (
                f"--session-duration is {self.session_duration:.0f} s with --assume-role-arn: AWS allows at most 1 h "
                "to sessions of a role assumed by a role; leave one of them out"
            )


@dataclass(frozen=True, kw_only=True)
class OperatorSettings:
    """What operators see and decide."""

    admin_listen: ListenAddress = setting(
        ":9090", parse=listen_address, metavar="ADDRESS", help="Where /livez, /readyz, /drainz and /metrics are."
    )
    debug_listen: ListenAddress = setting(
        "127.0.0.1:9091",
        parse=listen_address,
        metavar="ADDRESS",
        help="Where /debug/state is: the replica's state in numbers, no secrets. Loopback unless told otherwise.",
    )
    ready_when: str = setting(
        "all",
        parse=choice("all", "in-use"),
        metavar="all|in-use",
        help="Which roles are tried before the replica is ready: all, or those that running pods use.",
    )
    drain_time: float = setting(
        "20s",
        parse=bounded(duration, maximum="10m"),
        metavar="DURATION",
        help="How long requests are served after SIGTERM: every node has to hear that this replica is going.",
    )


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """All settings of one replica."""

    metadata: MetadataSettings = section(MetadataSettings, group="Metadata API")
    kubernetes: KubernetesSettings = section(KubernetesSettings, group="Kubernetes")
    credentials: CredentialSettings = section(CredentialSettings, group="Credentials")
    operators: OperatorSettings = section(OperatorSettings, group="Operation")
    logs: LogSettings = section(LogSettings, group="Logs")

    def check(self) -> Iterator[str]:
        """No two listeners at one place: pods would reach what is for operators only, or the other way round."""
        listeners = (
            ("--listen", self.metadata.listen),
            ("--admin-listen", self.operators.admin_listen),
            ("--debug-listen", self.operators.debug_listen),
        )
        for (flag, address), (other_flag, other) in itertools.combinations(listeners, 2):
            if _overlap(address, other):
                yield f"{flag} is '{address}' and {other_flag} is '{other}': give them different ports"


def _overlap(address: ListenAddress, other: ListenAddress) -> bool:
    """Whether two listeners would share an address; port 0 is chosen by the kernel, and never twice."""
    if address.port != other.port or address.port == 0:
        return False
    return address.host == other.host or bool({address.host, other.host} & {"", "::", "0.0.0.0"})
