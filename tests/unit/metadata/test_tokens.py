"""Tokens: what they state, where and when they are good, and what forging takes."""

import hmac
import timeit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iam4kube.kube.objects import Address
from iam4kube.metadata.keyring import add_key, new_keyring, remove_key, sign_with
from iam4kube.metadata.tokens import Flaw, InvalidToken, Tokens
from tests.support.metadata import START, Clock

HERE = Address("10.0.0.1")
THERE = Address("10.0.0.11")
RING = new_keyring(now=START, key_id="k1")


def flaw_of(tokens: Tokens, token: bytes, address: Address = HERE) -> Flaw:
    """Why a token is refused."""
    with pytest.raises(InvalidToken) as caught:
        tokens.verify(token, address)
    return caught.value.flaw


def test_a_token_is_good_at_its_address_and_says_its_time_to_live() -> None:
    """What was asked for comes back as text, ready to be echoed."""
    tokens = Tokens(RING, now=Clock())

    assert tokens.verify(tokens.issue(HERE, ttl=300), HERE) == b"300"


@pytest.mark.parametrize("address", ["10.0.0.11", "10.0.0.2", "2001:db8::1", ""])
def test_a_token_is_worthless_at_any_other_address(address: str) -> None:
    """One address being the beginning of another makes no difference."""
    tokens = Tokens(RING, now=Clock())

    assert flaw_of(tokens, tokens.issue(HERE, ttl=300), Address(address)) is Flaw.WRONG_SIGNATURE


@pytest.mark.parametrize(
    ("seconds", "flaw"),
    [(-61, Flaw.FROM_THE_FUTURE), (-60, None), (0, None), (390, None), (391, Flaw.EXPIRED), (86400, Flaw.EXPIRED)],
)
def test_time_is_checked_with_skew_and_grace(seconds: float, flaw: Flaw | None) -> None:
    """300 s of life, 30 s of grace, and 60 s between two replicas' clocks in either direction."""
    clock = Clock()
    tokens = Tokens(RING, now=clock)
    token = tokens.issue(HERE, ttl=300)
    clock.pass_seconds(seconds)

    if flaw is None:
        assert tokens.verify(token, HERE) == b"300"
    else:
        assert flaw_of(tokens, token) is flaw


def test_every_field_is_signed() -> None:
    """Changing any single character of a token breaks it."""
    tokens = Tokens(RING, now=Clock())
    token = tokens.issue(HERE, ttl=300)
    for position in range(len(token)):
        other = b"0" if token[position : position + 1] != b"0" else b"1"
        flaw_of(tokens, token[:position] + other + token[position + 1 :])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text("1.k-09af", max_size=80).map(str.encode)))
def test_anything_else_is_refused_and_nothing_is_raised_but_that(token: bytes) -> None:
    """Bytes of all kinds, and texts that look like tokens."""
    assert flaw_of(Tokens(RING, now=Clock()), token) in Flaw


def test_a_rotation_breaks_no_token() -> None:
    """Add, sign with the new key, remove the old one: tokens are good until their key is removed."""
    tokens = Tokens(RING, now=Clock())
    old = tokens.issue(HERE, ttl=21600)
    both = add_key(RING, now=START, key_id="k2")
    tokens.use(both)
    still_old = tokens.issue(HERE, ttl=21600)
    tokens.use(sign_with(both, "k2"))
    new = tokens.issue(HERE, ttl=21600)
    for token in (old, still_old, new):
        tokens.verify(token, HERE)
    assert [token.split(b".")[1] for token in (old, still_old, new)] == [b"k1", b"k1", b"k2"]

    tokens.use(remove_key(sign_with(both, "k2"), "k1"))
    assert flaw_of(tokens, old) is Flaw.UNKNOWN_KEY
    tokens.verify(new, HERE)


def test_the_signature_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison that leaks nothing through its duration is the one that decides."""
    monkeypatch.setattr(hmac, "compare_digest", lambda _ours, _theirs: True)
    tokens = Tokens(RING, now=Clock())

    assert tokens.verify(b"1.k1.%d.300.forged" % START.timestamp(), HERE) == b"300"


def test_issuing_and_verifying_take_microseconds() -> None:
    """2 µs are meant; 30 leave room for a busy machine and none for a mistake in kind."""
    tokens = Tokens(RING, now=Clock())
    token = tokens.issue(HERE, ttl=300)

    assert min(timeit.repeat(lambda: tokens.verify(token, HERE), number=200, repeat=5)) / 200 < 30e-6
    assert min(timeit.repeat(lambda: tokens.issue(HERE, ttl=300), number=200, repeat=5)) / 200 < 30e-6
