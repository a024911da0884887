"""STS as a real SDK sees it: sessions that work, refusals that say nothing, and what goes wrong on demand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ReadTimeoutError

from iam4kube.sandbox.sts import SERVER_ROLE, Sts, backend

ORDERS = "arn:aws:iam::111122223333:role/shop/orders"
BILLING = "arn:aws:iam::444455556666:role/billing"
AWS_NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


class Caller:
    """boto3's STS client, without retries, in a thread."""

    def __init__(self, sts: Sts, region: str = "eu-central-1", **credentials: str) -> None:
        own = credentials or sts.credentials()
        self._client = boto3.client(
            "sts",
            endpoint_url=sts.url,
            region_name=region,
            config=Config(retries={"total_max_attempts": 1}, read_timeout=0.5),
            aws_access_key_id=own["aws_access_key_id"],
            aws_secret_access_key=own["aws_secret_access_key"],
            aws_session_token=own["aws_session_token"],
        )

    async def assume(self, role_arn: str, session_name: str = "shop@orders", **more: Any) -> dict[str, Any]:
        """AssumeRole."""
        return dict(
            await asyncio.to_thread(self._client.assume_role, RoleArn=role_arn, RoleSessionName=session_name, **more)
        )

    async def arn(self) -> str:
        """GetCallerIdentity."""
        return str((await asyncio.to_thread(self._client.get_caller_identity))["Arn"])

    async def refusal(self, role_arn: str, session_name: str = "shop@orders", **more: Any) -> tuple[int, str, str]:
        """Status, code and message of an AssumeRole that must be refused."""
        with pytest.raises(ClientError) as error:
            await self.assume(role_arn, session_name, **more)
        response: Any = error.value.response
        return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


def credentials_of(answer: dict[str, Any]) -> dict[str, str]:
    """As boto3 takes them."""
    credentials = answer["Credentials"]
    return {
        "aws_access_key_id": credentials["AccessKeyId"],
        "aws_secret_access_key": credentials["SecretAccessKey"],
        "aws_session_token": credentials["SessionToken"],
    }


@pytest.fixture
async def sts() -> AsyncIterator[Sts]:
    """An STS that trusts everybody."""
    async with Sts() as sts:
        yield sts


async def test_a_session_is_the_role_it_was_asked_for(sts: Sts) -> None:
    """Its identity names account, role without path, and session; so does a session's session."""
    server = Caller(sts)
    assert await server.arn() == "arn:aws:sts::111111111111:assumed-role/iam4kube-server/i-0123456789abcdef0"
    answer = await server.assume(ORDERS)
    assert answer["AssumedRoleUser"]["Arn"] == "arn:aws:sts::111122223333:assumed-role/orders/shop@orders"
    orders = Caller(sts, **credentials_of(answer))
    assert await orders.arn() == answer["AssumedRoleUser"]["Arn"]
    chained = await orders.assume(BILLING)
    assert await Caller(sts, **credentials_of(chained)).arn() == (
        "arn:aws:sts::444455556666:assumed-role/billing/shop@orders"
    )


async def test_trust_policies_are_held(sts: Sts) -> None:
    """A missing or wrong external ID, another session name, a role that trusts nobody: all sound the same."""
    sts.trust.trust(ORDERS, external_id="secret", session_name="shop@orders")
    sts.trust.deny(BILLING)
    server = Caller(sts)
    assert (await server.assume(ORDERS, ExternalId="secret"))["Credentials"]
    user = "arn:aws:sts::111111111111:assumed-role/iam4kube-server/i-0123456789abcdef0"
    text = f"User: {user} is not authorized to perform: sts:AssumeRole on resource: {ORDERS}"
    denied = (403, "AccessDenied", text)
    assert await server.refusal(ORDERS) == denied
    assert await server.refusal(ORDERS, ExternalId="wrong") == denied
    assert await server.refusal(ORDERS, "evil@orders", ExternalId="secret") == denied
    assert (await server.refusal(BILLING))[1] == "AccessDenied"
    assert (await server.refusal("arn:aws-cn:iam::111122223333:role/x"))[1] == "AccessDenied"
    assert sts.count(ORDERS) == 4
    assert sts.count(ORDERS, outcome="Success") == 1


async def test_unknown_roles_can_be_refused() -> None:
    """As in AWS, where a role without a policy for the caller and one that does not exist are the same."""
    async with Sts(known_only=True) as sts:
        sts.trust.trust(ORDERS)
        assert (await Caller(sts).assume(ORDERS))["Credentials"]
        assert (await Caller(sts).refusal(BILLING))[1] == "AccessDenied"


async def test_requests_are_checked(sts: Sts) -> None:
    """What AWS would call invalid is, for its own reason; role chaining ends after an hour."""
    server = Caller(sts)
    assert await server.refusal("arn:aws:iam::1:role/too-short") == (
        400,
        "ValidationError",
        "arn:aws:iam::1:role/too-short is invalid",
    )
    assert "'roleSessionName'" in (await server.refusal(ORDERS, "with space"))[2]
    assert "1 hour session limit" in (await server.refusal(ORDERS, DurationSeconds=3601))[2]


@pytest.mark.parametrize(
    ("inject", "status", "code"),
    [
        (lambda faults: faults.throttle(times=1), 400, "Throttling"),
        (lambda faults: faults.break_down(times=1), 503, "ServiceUnavailable"),
        (lambda faults: faults.break_down(status=500, times=1), 500, "InternalFailure"),
        (lambda faults: faults.garble(times=1), 502, "502"),
        (lambda faults: faults.disable_region(region="x", account="1", times=1), 403, "RegionDisabledException"),
    ],
    ids=["throttled", "unavailable", "internal", "proxy", "region"],
)
async def test_a_fault_is_answered_once(sts: Sts, inject: Callable[[Any], Any], status: int, code: str) -> None:
    """The SDK sees AWS's status and code, and the next call is well."""
    inject(sts.faults)
    assert (await Caller(sts).refusal(ORDERS))[:2] == (status, code)
    assert (await Caller(sts).assume(ORDERS))["Credentials"]


@pytest.mark.parametrize(("fault", "error"), [("hang", ReadTimeoutError), ("drop", ConnectionClosedError)])
async def test_no_answer(sts: Sts, fault: str, error: type[BotoCoreError]) -> None:
    """Silence ends with the SDK's time-out, a dropped connection at once; only the one role is struck."""
    getattr(sts.faults, fault)(role_arn=ORDERS)
    server = Caller(sts)
    assert (await server.assume(BILLING))["Credentials"]
    with pytest.raises(error):
        await server.assume(ORDERS)
    sts.faults.clear()
    assert (await server.assume(ORDERS))["Credentials"]
    assert sts.count(ORDERS, outcome="NoAnswer") == 1
    assert (sts.in_flight, sts.most_in_flight) == (0, 1)


async def test_aws_has_its_own_clock() -> None:
    """The Date header and the expiration follow the given clock, not the machine's."""
    async with Sts(now=lambda: AWS_NOW) as sts:
        answer = await Caller(sts).assume(ORDERS, DurationSeconds=900)
        assert answer["Credentials"]["Expiration"] == AWS_NOW + timedelta(seconds=900)
        assert answer["ResponseMetadata"]["HTTPHeaders"]["date"] == "Tue, 06 May 2031 07:08:09 GMT"


async def test_sessions_end() -> None:
    """An expired session is refused as such, and an unknown key as unknown."""
    now = AWS_NOW
    async with Sts(now=lambda: now) as sts:
        sts.limit_sessions(60)
        orders = Caller(sts, **credentials_of(await Caller(sts).assume(ORDERS)))
        now += timedelta(seconds=60)
        assert (await orders.refusal(BILLING))[:2] == (403, "ExpiredToken")
        sts.disown_server()
        assert (await Caller(sts).refusal(ORDERS))[:2] == (403, "InvalidClientTokenId")
        sts.recognize_server()
        assert (await Caller(sts).assume(ORDERS))["Credentials"]


async def test_the_backend_forgets_the_oldest_sessions(sts: Sts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend keeps a bounded number of sessions of each account, in both of its lists."""
    from moto.iam.models import iam_backends
    from moto.sts.models import sts_backends

    monkeypatch.setattr(backend, "_SESSIONS_LIMIT", 3)
    for _ in range(5):
        await Caller(sts).assume(BILLING)
    assert len(sts_backends["444455556666"]["aws"].assumed_roles) == 3
    assert len(iam_backends["444455556666"]["aws"].access_keys) == 3


async def test_the_environment_is_all_a_process_needs(sts: Sts) -> None:
    """Credentials of the instance role, region and endpoint, and nothing shows a secret."""
    environment = sts.environment()
    assert environment["AWS_ENDPOINT_URL_STS"] == sts.url
    assert sts.credentials()["aws_secret_access_key"] == environment["AWS_SECRET_ACCESS_KEY"]
    assert environment["AWS_SECRET_ACCESS_KEY"] not in repr(vars(sts._service))
    assert SERVER_ROLE.endswith("role/iam4kube-server")
