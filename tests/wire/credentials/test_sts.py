"""AssumeRole with real boto3 over real sockets, against an STS that refuses, hangs and throttles."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from iam4kube.credentials.sts import AssumeRoleSource, Caller
from iam4kube.credentials.values import Credentials, FailureKind, Fetched, FetchError
from iam4kube.roles import ExternalId, RoleArn, RoleKey
from iam4kube.runtime.clock import utc_now
from iam4kube.runtime.mistakes import SettingsError
from iam4kube.sandbox.sts import SERVER_ROLE, Sts
from tests.support.credentials import changed_key, fetching, role_key
from tests.support.world import replica_environment

KEY = role_key("role")
BETWEEN = RoleArn("arn:aws:iam::222222222222:role/between")


class Aws:
    """An STS on loopback, and how many of the server's own calls asked for a token."""

    def __init__(self, sts: Sts) -> None:
        self.sts = sts
        self.admitted = 0

    @contextlib.asynccontextmanager
    async def source(self, **options: Any) -> AsyncIterator[AssumeRoleSource]:
        """A source that calls it."""
        async with AssumeRoleSource(admit=self._admit, now=utc_now, **options) as source:
            yield source

    async def _admit(self) -> None:
        self.admitted += 1


@pytest.fixture
async def aws(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Aws]:
    """An STS that boto3 finds by the environment, as in production."""
    async with Sts() as sts:
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        for name, value in replica_environment(sts).items():
            monkeypatch.setenv(name, value)
        yield Aws(sts)


async def _failure(source: AssumeRoleSource, key: RoleKey = KEY) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await source.fetch(key)
    return caught.value


async def test_session_of_the_role_with_awss_own_times(aws: Aws) -> None:
    """An hour from AWS's `Date`, in UTC, and the call carries role, session name and external ID."""
    async with aws.source() as source:
        credentials = await source.fetch(changed_key(KEY, "external-id"))
    assert timedelta(seconds=3598) <= credentials.expiration - credentials.issued <= timedelta(hours=1)
    assert credentials.expiration.tzinfo is UTC
    call = aws.sts.calls[-1]
    assert (call.role_arn, call.session_name, call.external_id) == (KEY.arn, "default@role", "external-id")


async def test_lifetime_does_not_depend_on_our_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS's clock is a day ahead of ours, and the lifetime is an hour all the same."""
    async with Sts(now=lambda: datetime.now(UTC) + timedelta(days=1)) as sts:
        for name, value in sts.environment().items():
            monkeypatch.setenv(name, value)
        async with Aws(sts).source() as source:
            credentials = await source.fetch(KEY)
    assert timedelta(seconds=3598) <= credentials.expiration - credentials.issued <= timedelta(hours=1)


async def test_external_id_not_set_is_not_sent(aws: Aws) -> None:
    """A trust policy that asks for one refuses the call without, and takes the one with it."""
    aws.sts.trust.trust(KEY.arn, external_id="secret-id")
    async with aws.source() as source:
        assert (await _failure(source)).code == "AccessDenied"
        assert isinstance(await source.fetch(RoleKey(KEY.arn, ExternalId("secret-id"), KEY.session_name)), Credentials)


async def test_r15_longest_names_are_taken(aws: Aws) -> None:
    """A ServiceAccount with the longest names Kubernetes allows gets a session."""
    key = role_key("s" * 253, namespace="n" * 63)
    key = RoleKey(KEY.arn, None, key.session_name)
    async with aws.source() as source:
        assert isinstance(await source.fetch(key), Credentials)
    assert aws.sts.calls[-1].session_name == key.session_name


async def test_each_kind_of_trouble_is_told_apart(aws: Aws) -> None:
    """Refusals, throttling, 5xx, a proxy's page, dropped connections, own credentials: as the queue needs it."""
    faults = aws.sts.faults
    async with aws.source() as source:
        aws.sts.trust.deny(KEY.arn)
        denied = await _failure(source)
        assert (denied.kind, denied.code) == (FailureKind.PERMANENT, "AccessDenied")
        assert "is not authorized to perform: sts:AssumeRole" in denied.message
        other = role_key("other")
        faults.throttle(times=1)
        assert (await _failure(source, other)).kind is FailureKind.THROTTLED
        faults.disable_region(region="eu-central-1", account="123456789012", times=1)
        assert (await _failure(source, other)).kind is FailureKind.PERMANENT
        faults.break_down(times=1)
        assert (await _failure(source, other)).kind is FailureKind.TRANSIENT
        faults.garble(times=1)
        assert (await _failure(source, other)).kind is FailureKind.TRANSIENT
        faults.drop(times=1)
        assert (await _failure(source, other)).kind is FailureKind.TRANSIENT
        aws.sts.disown_server()
        own = await _failure(source, other)
        assert (own.kind, own.code) == (FailureKind.TRANSIENT, "InvalidClientTokenId")
        aws.sts.recognize_server()
        assert isinstance(await source.fetch(other), Credentials)


async def test_botocore_does_not_retry(aws: Aws) -> None:
    """The limiter counts every request, so one failure is one request."""
    aws.sts.faults.break_down(times=1)
    async with aws.source() as source:
        await _failure(source)
    assert aws.sts.count(KEY.arn) == 1


async def test_call_that_hangs_ends_in_time(aws: Aws) -> None:
    """STS that never answers costs the call's time-out and no more."""
    aws.sts.faults.hang(times=1)
    async with aws.source(call_timeout=0.3) as source:
        failure = await _failure(source)
        assert (failure.kind, failure.code) == (FailureKind.TRANSIENT, "Timeout")
        assert isinstance(await source.fetch(KEY), Credentials)


async def test_endpoint_that_is_not_there(aws: Aws) -> None:
    """Connection refused is transient, and says which endpoint."""
    await aws.sts.stop()
    async with aws.source() as source:
        failure = await _failure(source)
    assert (failure.kind, failure.code) == (FailureKind.TRANSIENT, "EndpointConnectionError")
    assert aws.sts.url in failure.message
    await aws.sts.start()


async def test_server_without_credentials_waits_for_some(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials at the start are transient trouble, not the end of a client that never looks again."""
    for name in aws.sts.credentials():
        monkeypatch.delenv(name.upper())
    monkeypatch.setattr("iam4kube.credentials.sts_client._CHAIN_RETRY", 0.0)
    async with aws.source() as source:
        failure = await _failure(source)
        assert (failure.kind, failure.code) == (FailureKind.TRANSIENT, "NoCredentialsError")
        for name, value in aws.sts.credentials().items():
            monkeypatch.setenv(name.upper(), value)
        assert isinstance(await source.fetch(KEY), Credentials)


async def test_role_in_between_assumes_the_pods_roles(aws: Aws) -> None:
    """Once for many; sessions are capped at an hour; and the server's own call asks the limiter."""
    aws.sts.trust.deny(role_key("bad").arn)
    async with aws.source(assume_role_arn=BETWEEN, session_duration=12 * 3600.0) as source:
        found = await asyncio.gather(*(source.fetch(role_key(f"r{number}")) for number in range(10)))
        failure = await _failure(source, role_key("bad"))
    assert all(each.expiration - each.issued <= timedelta(hours=1) for each in found)
    assert aws.sts.count(BETWEEN) == 1
    assert aws.admitted == 1
    assert failure.kind is FailureKind.PERMANENT
    assert "assumed-role/between/" in failure.message


async def test_role_in_between_that_is_refused_is_no_refusal_of_the_pods_role(aws: Aws) -> None:
    """It is the server's own trouble: transient for every role, and the text says whose it is."""
    aws.sts.trust.deny(BETWEEN)
    async with aws.source(assume_role_arn=BETWEEN) as source:
        failure = await _failure(source)
    assert (failure.kind, failure.code) == (FailureKind.TRANSIENT, "AccessDenied")
    assert f"could not assume {BETWEEN} itself" in failure.message


async def test_caller_is_the_servers_own_role(aws: Aws) -> None:
    """Partition, account and role name, also with a role in between, and by the limiter."""
    expected = Caller("aws", SERVER_ROLE.split(":")[4], SERVER_ROLE.rpartition("/")[2])
    for options in ({}, {"assume_role_arn": BETWEEN}):
        async with aws.source(**options) as source:
            assert await source.caller() == expected
            aws.sts.faults.break_down(times=1)
            with pytest.raises(FetchError):
                await source.caller()
    assert aws.admitted == 4


async def test_missing_region_is_a_mistake_in_the_settings(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the setting and the remedy, at the start; `region` alone is enough."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SettingsError, match=r"no AWS region: set --sts-region or IAM4KUBE_STS_REGION"):
        async with aws.source():
            pass
    async with aws.source(region="eu-west-1") as source:
        assert isinstance(await source.fetch(KEY), Credentials)


async def test_endpoint_is_regional_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Legacy mode would send the sessions of a dozen regions to the global endpoint in us-east-1."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_STS", False)
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "legacy")
    async with Aws(Sts()).source(region="eu-west-1") as source:
        assert source._own_client is not None
        assert source._own_client.meta.endpoint_url == "https://sts.eu-west-1.amazonaws.com"


async def test_prefetcher_over_real_sts(aws: Aws) -> None:
    """End to end: fifty roles, one refused and one that hangs, with real calls, threads and sockets."""
    bad, hung = role_key("r0"), role_key("r1")
    aws.sts.trust.deny(bad.arn)
    aws.sts.faults.hang(role_arn=hung.arn)
    keys = [role_key(f"r{number}") for number in range(50)]
    async with aws.source() as source, fetching(real=source, rate=200.0, burst=50.0) as world:
        world.hold(*keys)
        found = await asyncio.gather(*(world.credentials(key) for key in keys if key != hung))
        assert [type(each).__name__ for each in found] == ["Failure"] + ["Credentials"] * 48
        assert isinstance(world.prefetcher.lookup(keys[2]), Fetched)
        assert world.prefetcher.lookup(hung) is None
