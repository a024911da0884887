"""What a call to STS asks, and the checks that need nothing but the call itself."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from iam4kube.sandbox.sts.errors import StsError, invalid_value

# Authorization: AWS4-HMAC-SHA256 Credential=<access key id>/<date>/<region>/sts/aws4_request, ...
_CREDENTIAL = re.compile(r"Credential=(?P<access_key_id>[^/,\s]+)/[0-9]{8}/(?P<region>[^/,\s]+)/sts/")
_ROLE_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z0-9-]*):iam::(?P<account>[0-9]{12}):role/(?:[!-~]+/)?[\w+=,.@-]{1,64}"
)
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_SHORTEST, _LONGEST, _LONGEST_CHAINED = 900, 43200, 3600  # seconds: AssumeRole, DurationSeconds


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who signed a call, by the key and the scope of the signature, which nobody here verifies."""

    access_key_id: str
    session_token: str
    region: str


@dataclass(frozen=True, kw_only=True)
class AssumeRole:
    """The parameters of one AssumeRole call."""

    role_arn: str
    session_name: str
    external_id: str | None
    duration: int
    """In seconds."""

    @property
    def account(self) -> str:
        """The account that the role is in."""
        return self.role_arn.split(":")[4]

    @property
    def partition(self) -> str:
        """The partition that the role is in."""
        return self.role_arn.split(":")[1]

    @property
    def session_arn(self) -> str:
        """What `GetCallerIdentity` says of the session: the role's name without its path."""
        name = self.role_arn.rsplit("/", 1)[-1]
        return f"arn:{self.partition}:sts::{self.account}:assumed-role/{name}/{self.session_name}"


def parse_caller(headers: Mapping[str, str]) -> Caller:
    """Who calls. Raises 403 when the call is not signed."""
    match = _CREDENTIAL.search(headers.get("Authorization", ""))
    if match is None:
        raise StsError(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
    token = headers.get("X-Amz-Security-Token", "")
    return Caller(access_key_id=match["access_key_id"], session_token=token, region=match["region"])


def parse_assume_role(form: Mapping[str, str]) -> AssumeRole:
    """The call's parameters. Raises `ValidationError` as STS does."""
    duration = form.get("DurationSeconds", "3600")
    if not duration.isdecimal():
        raise invalid_value(duration, member="durationSeconds", constraint="type: integer")
    call = AssumeRole(
        role_arn=form.get("RoleArn", ""),
        session_name=form.get("RoleSessionName", ""),
        external_id=form.get("ExternalId"),
        duration=int(duration),
    )
    if _ROLE_ARN.fullmatch(call.role_arn) is None:
        raise StsError(400, "ValidationError", f"{call.role_arn} is invalid")
    if _SESSION_NAME.fullmatch(call.session_name) is None:
        raise invalid_value(call.session_name, member="roleSessionName", constraint=r"pattern: [\w+=,.@-]*")
    if call.external_id is not None and _EXTERNAL_ID.fullmatch(call.external_id) is None:
        raise invalid_value(call.external_id, member="externalId", constraint=r"pattern: [\w+=,.@:\/-]*")
    return call


def check_duration(call: AssumeRole) -> None:
    """Raises `ValidationError` for a session that is too short or too long.

    Every caller here has a role's session, an instance's too, so each call chains roles: one hour at most.
    """
    if call.duration < _SHORTEST:
        raise invalid_value(str(call.duration), member="durationSeconds", constraint=f"value >= {_SHORTEST}")
    if call.duration > _LONGEST:
        raise invalid_value(str(call.duration), member="durationSeconds", constraint=f"value <= {_LONGEST}")
    if call.duration > _LONGEST_CHAINED:
        message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        raise StsError(400, "ValidationError", message)
