"""What STS answers, without HTTP: who calls, may they, and the XML of what they get."""

import re
from collections.abc import Mapping
from datetime import timedelta
from xml.sax.saxutils import escape

from iam4kube.runtime.clock import Now
from iam4kube.sandbox.sts.backend import MotoBackend
from iam4kube.sandbox.sts.errors import NAMESPACE, StsError, access_denied, new_request_id
from iam4kube.sandbox.sts.requests import AssumeRole, check_duration, parse_assume_role, parse_caller
from iam4kube.sandbox.sts.sessions import Session, Sessions, instance_session, session_from_xml
from iam4kube.sandbox.sts.trust import TrustPolicies

SERVER_ROLE = "arn:aws:iam::111111111111:role/iam4kube-server"
"""The role of the instance that the server runs on."""


class StsService:
    """The service behind the socket. `now` is AWS's clock."""

    def __init__(self, *, now: Now, known_only: bool) -> None:
        self.trust = TrustPolicies(known_only=known_only)
        self.session_lifetime: float | None = None
        self.now = now
        self.sessions = Sessions()
        self.instance = instance_session(SERVER_ROLE, session_name="i-0123456789abcdef0")
        self.sessions.add(self.instance)
        self._backend = MotoBackend()

    async def answer(self, headers: Mapping[str, str], form: Mapping[str, str]) -> str:
        """The XML that answers a call. Raises `StsError`."""
        caller = parse_caller(headers)
        session = self.sessions.of(caller, now=self.now())
        action = form.get("Action", "")
        if action == "GetCallerIdentity":
            return _identity(session)  # moto would invent a new user ID each time, and the partition
        if action != "AssumeRole":
            raise StsError(400, "InvalidAction", f"Could not find operation {action} for version 2011-06-15")
        call = parse_assume_role(form)
        self._authorize(session, call)
        return self._record(await self._backend.call(caller, form, account=call.account), call)

    async def start(self) -> None:
        """Load the backend."""
        await self._backend.start()

    def stop(self) -> None:
        """End the backend's thread."""
        self._backend.stop()

    def _authorize(self, caller: Session, call: AssumeRole) -> None:
        if call.partition != caller.partition or not self.trust.allows(call):
            raise access_denied(caller=caller.arn, role_arn=call.role_arn)
        check_duration(call)

    def _record(self, xml: str, call: AssumeRole) -> str:
        """Remember the session; returns moto's answer with its ARN and our clock's expiration set right."""
        lifetime = call.duration if self.session_lifetime is None else self.session_lifetime
        expiration = (self.now() + timedelta(seconds=lifetime)).replace(microsecond=0)
        self.sessions.add(session_from_xml(xml, call, expiration=expiration))
        xml = _with_element(xml, "Expiration", f"{expiration:%Y-%m-%dT%H:%M:%SZ}")
        return _with_element(xml, "Arn", call.session_arn)


def _identity(session: Session) -> str:
    return (
        f'<GetCallerIdentityResponse xmlns="{NAMESPACE}">\n  <GetCallerIdentityResult>\n'
        f"    <Arn>{escape(session.arn)}</Arn>\n    <UserId>{escape(session.user_id)}</UserId>\n"
        f"    <Account>{session.account}</Account>\n  </GetCallerIdentityResult>\n"
        f"  <ResponseMetadata><RequestId>{new_request_id()}</RequestId></ResponseMetadata>\n"
        "</GetCallerIdentityResponse>\n"
    )


def _with_element(xml: str, name: str, text: str) -> str:
    return re.sub(f"<{name}>[^<]*</{name}>", f"<{name}>{escape(text)}</{name}>", xml)
