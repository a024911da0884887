"""Paths: a closed set, whatever is thrown at it."""

import string
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iam4kube.metadata.routes import Route, Target, target_of

PREFIX = b"/latest/meta-data/iam/security-credentials/"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/latest/api/token", Route.TOKEN),
        ("/2021-03-23/api/token", Route.OTHER_TOKEN),
        ("/latest/meta-data/iam/security-credentials", Route.ROLE_LIST),
        ("/latest/meta-data/iam/security-credentials/", Route.ROLE_LIST),
        ("/1.0/meta-data/iam/info", Route.IAM_INFO),
        ("/latest/meta-data/placement/region/", Route.REGION),
        ("/latest/meta-data/placement/availability-zone", Route.ZONE),
        ("/latest/dynamic/instance-identity/document", Route.IDENTITY_DOCUMENT),
        ("/latest/meta%2Ddata/iam/info", Route.IAM_INFO),
    ],
)
def test_what_exists(path: str, route: Route) -> None:
    """Each resource, under any version."""
    assert target_of(path.encode()) == Target(route)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "/latest",
        "/latest/",
        "//latest/meta-data/iam/info",
        "//meta-data/iam/info",
        "/latest//meta-data/iam/info",
        "/latest/meta-data/iam/info/",
        "/latest/api/token/",
        "/latest/user-data",
        "/latest/meta-data/iam%2Finfo",
        "/latest/meta-data/./iam/info",
        "/latest/dynamic/../meta-data/iam/info",
        "/latest/meta%252Ddata/iam/info",
        "/LATEST/META-DATA/IAM/INFO",
        "/latest/meta-data/iam/security-credentials//",
        "/latest/meta-data/iam/security-credentials/a/b",
        "/latest/meta-data/iam/security-credentials-extended/",
        "/latest/meta-data/iam/info%00",
        "/latest/meta-data/iam/%ff",
        "latest/meta-data/iam/info",
        "x/latest/meta-data/iam/info",
        "http://169.254.169.254/latest/meta-data/iam/info",
        "/latest/meta-data/iam/security-credentials/" + "a" * 10_000,
    ],
)
def test_what_does_not_exist(path: str) -> None:
    """Doubled slashes, dot segments, encoded slashes, two encodings, other letters: nothing."""
    assert target_of(path.encode()) == Target(Route.UNKNOWN)


@given(st.text(string.ascii_letters + string.digits + "_+=,.@-", min_size=1, max_size=64), st.randoms())
def test_every_role_name_in_every_encoding_is_the_same_name(name: str, random: Random) -> None:
    """Any of its characters may be encoded, in either case."""
    encoded = "".join(
        letter if random.random() < 0.5 else random.choice((f"%{ord(letter):02x}", f"%{ord(letter):02X}"))
        for letter in name
    )
    for spelling in (name, quote(name), encoded):
        assert target_of(PREFIX + spelling.encode()) == Target(Route.CREDENTIALS, name)


@given(st.binary(max_size=60))
def test_no_bytes_lead_anywhere_by_accident(tail: bytes) -> None:
    """A name is what one decoding gives, or nothing is there."""
    target = target_of(PREFIX + tail)
    if target.route is Route.CREDENTIALS:
        assert "/" not in tail.decode("ascii")
        assert target.role.isascii()
    else:
        assert target.route in {Route.UNKNOWN, Route.ROLE_LIST}
