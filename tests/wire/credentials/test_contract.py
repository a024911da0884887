"""What every source of credentials promises, held against the real one and against the tests' own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import pytest

from iam4kube.credentials.sts import AssumeRoleSource
from iam4kube.credentials.values import CredentialSource, FailureKind, FetchError
from iam4kube.roles import RoleKey
from iam4kube.runtime.clock import utc_now
from iam4kube.sandbox.sts import Sts
from tests.support.credentials import TunableSource, access_denied, changed_key, role_key, unavailable
from tests.support.world import replica_environment

KEY, OTHER = role_key("role"), role_key("role", account="999999999999")


class Subject(NamedTuple):
    """A source, and ways to make its AWS go wrong."""

    source: CredentialSource
    refuse: Callable[[RoleKey], object]
    break_down: Callable[[RoleKey], object]
    hang: Callable[[RoleKey], object]


@contextlib.asynccontextmanager
async def _real(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Subject]:
    async with Sts() as sts:
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        for name, value in replica_environment(sts).items():
            monkeypatch.setenv(name, value)
        async with AssumeRoleSource(admit=_at_once, now=utc_now, call_timeout=2.0) as source:
            yield Subject(
                source,
                refuse=lambda key: sts.trust.deny(key.arn),
                break_down=lambda key: sts.faults.break_down(role_arn=key.arn),
                hang=lambda key: sts.faults.hang(role_arn=key.arn),
            )


@contextlib.asynccontextmanager
async def _tunable(_: pytest.MonkeyPatch) -> AsyncIterator[Subject]:
    source = TunableSource()
    yield Subject(
        source,
        refuse=lambda key: source.fail(key, access_denied),
        break_down=lambda key: source.fail(key, unavailable),
        hang=source.hang,
    )


async def _at_once() -> None:
    """A limiter without limit."""


@pytest.fixture(params=[_real, _tunable])
async def subject(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Subject]:
    """Each source in turn."""
    async with request.param(monkeypatch) as subject:
        yield subject


async def test_every_fetch_is_a_new_session_of_an_hour(subject: Subject) -> None:
    """Never one from a cache, and its lifetime is told by AWS's own clock, in UTC."""
    first, second = await subject.source.fetch(KEY), await subject.source.fetch(KEY)
    assert first.access_key_id != second.access_key_id
    assert 3595 <= (first.expiration - first.issued).total_seconds() <= 3600
    assert first.expiration.utcoffset() is not None


async def test_r14_keys_do_not_mix(subject: Subject) -> None:
    """The same role name in two accounts, asked for at once: one is refused, the other is not."""
    subject.refuse(OTHER)
    results = await asyncio.gather(
        *(subject.source.fetch(key) for key in (KEY, OTHER, changed_key(KEY, "external"))), return_exceptions=True
    )
    assert [isinstance(result, FetchError) for result in results] == [False, True, False]


@pytest.mark.parametrize(
    ("trouble", "kind"), [("refuse", FailureKind.PERMANENT), ("break_down", FailureKind.TRANSIENT)]
)
async def test_failures_are_fetch_errors_of_a_kind(subject: Subject, trouble: str, kind: FailureKind) -> None:
    """With a code and a text."""
    getattr(subject, trouble)(KEY)
    with pytest.raises(FetchError) as caught:
        await subject.source.fetch(KEY)
    assert caught.value.kind is kind
    assert caught.value.code
    assert caught.value.message


async def test_cancelled_fetch_ends_at_once(subject: Subject) -> None:
    """The caller's deadline counts, whatever AWS does; and other fetches go on."""
    subject.hang(KEY)
    start = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await subject.source.fetch(KEY)
    assert asyncio.get_running_loop().time() - start < 1.0
    await subject.source.fetch(OTHER)
