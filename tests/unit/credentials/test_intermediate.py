"""The session of the role in between, in virtual time."""

import asyncio

import pytest
from botocore.exceptions import NoCredentialsError

from iam4kube.credentials.intermediate import Intermediate
from iam4kube.credentials.sts_client import ChainCredentials, SessionCredentials
from iam4kube.credentials.values import Credentials, FetchError
from tests.support.credentials import HOUR, VIRTUAL_TIME, TunableSource, access_denied, role_key, unavailable

pytestmark = pytest.mark.looptime(**VIRTUAL_TIME)

ROLE = role_key("between")


class Assumed:
    """An intermediate role over a source whose behaviour a test sets."""

    def __init__(self, source: TunableSource) -> None:
        self.session = SessionCredentials()
        self.role = Intermediate(self.session, lambda: source.fetch(ROLE))

    def key_id(self) -> str | None:
        """What requests are signed with."""
        return self.session.get_frozen_credentials().access_key


async def test_session_is_assumed_once_for_all_and_again_at_half_of_its_life() -> None:
    """Twenty calls at the start make one call for it; at half-life the old one serves while the new one comes."""
    source = TunableSource(latency=1.0)
    assumed = Assumed(source)
    await asyncio.gather(*(assumed.role.ensure() for _ in range(20)))
    first = assumed.key_id()
    assert source.times(ROLE) == [0.0]
    await asyncio.sleep(HOUR / 2 - 2)
    await assumed.role.ensure()
    assert len(source.calls) == 1
    await asyncio.sleep(2)
    before = asyncio.get_running_loop().time()
    await assumed.role.ensure()
    assert asyncio.get_running_loop().time() == before
    assert assumed.key_id() == first
    await asyncio.sleep(1.1)
    assert assumed.key_id() != first
    assert len(source.calls) == 2


async def test_failing_refresh_costs_nothing_until_the_session_expires() -> None:
    """Tried every five seconds at most; calls go on with the old session, and fail with what STS says after it."""
    source = TunableSource()
    assumed = Assumed(source)
    await assumed.role.ensure()
    source.fail(None, unavailable)
    while asyncio.get_running_loop().time() < HOUR - 1:
        await asyncio.sleep(0.5)
        await assumed.role.ensure()
    assert len(source.calls) <= 1 + HOUR / 2 / 5
    await asyncio.sleep(2)
    with pytest.raises(FetchError, match="ServiceUnavailable"):
        await assumed.role.ensure()
    source.heal(None)
    await asyncio.sleep(5)
    await assumed.role.ensure()


async def test_session_that_sts_does_not_take_is_replaced() -> None:
    """Revoked sessions: the next call waits for another one."""
    source = TunableSource()
    assumed = Assumed(source)
    await assumed.role.ensure()
    first = assumed.key_id()
    assumed.role.distrust()
    await assumed.role.ensure()
    assert assumed.key_id() != first


async def test_caller_that_goes_away_does_not_end_the_call_for_the_others() -> None:
    """The call is everybody's; closing ends it."""
    source = TunableSource(latency=1.0)
    assumed = Assumed(source)
    impatient = asyncio.create_task(assumed.role.ensure())
    patient = asyncio.create_task(assumed.role.ensure())
    await asyncio.sleep(0.5)
    impatient.cancel()
    await patient
    assert len(source.calls) == 1
    assumed.role.distrust()
    waiting = asyncio.create_task(assumed.role.ensure())
    await asyncio.sleep(0.5)
    await assumed.role.close()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not source.running[ROLE]


async def test_first_session_that_is_refused_is_everybodys_error() -> None:
    """Remembered for five seconds instead of asked for by each role."""
    source = TunableSource()
    source.fail(ROLE, access_denied)
    assumed = Assumed(source)
    for _ in range(10):
        with pytest.raises(FetchError, match="AccessDenied"):
            await assumed.role.ensure()
    assert len(source.calls) == 1
    with pytest.raises(NoCredentialsError):
        assumed.key_id()


def test_credential_chain_is_asked_again_while_it_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance role that comes late is found, without asking for it at every call."""

    class Chain:
        asked = 0
        found: SessionCredentials | None = None

        def load_credentials(self) -> SessionCredentials | None:
            self.asked += 1
            return self.found

    clock = [100.0]
    monkeypatch.setattr("iam4kube.credentials.sts_client.time.monotonic", lambda: clock[0])
    chain = Chain()
    credentials = ChainCredentials(chain)
    for _ in range(3):
        with pytest.raises(NoCredentialsError):
            credentials.get_frozen_credentials()
    assert chain.asked == 1
    clock[0] += 5.0
    chain.found = SessionCredentials()
    chain.found.replace(access_key_id="ASIA1", secret_access_key="s", session_token="t")
    assert credentials.get_frozen_credentials().access_key == "ASIA1"
    assert credentials.get_frozen_credentials().access_key == "ASIA1"
    assert chain.asked == 2


def test_credentials_show_no_secret() -> None:
    """Neither in a log nor in a traceback."""
    credentials = TunableSource().issue(ROLE, 0.0)
    assert credentials.secret_access_key not in repr(credentials)
    assert credentials.session_token not in repr(credentials)
    assert isinstance(credentials, Credentials)
