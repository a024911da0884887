"""Role ARNs, external IDs and session names: what STS takes, what it would refuse, and what nobody can forge."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iam4kube.roles import (
    EXTERNAL_ID_ANNOTATION,
    ROLE_ANNOTATION,
    SESSION_NAME_LIMIT,
    ExternalId,
    InvalidRole,
    Role,
    RoleArn,
    RoleKey,
    SessionName,
    parse_external_id,
    parse_role_arn,
    quoted,
    session_name,
)

LOWER_AND_DIGITS = string.ascii_lowercase + string.digits
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
SUBDOMAIN = st.lists(LABEL, min_size=1, max_size=8).map(".".join).filter(lambda name: len(name) <= 253)
STS_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)


@pytest.mark.parametrize(
    "partition",
    ["aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc"],
)
def test_roles_of_every_partition_are_taken_apart(partition: str) -> None:
    """AWS adds partitions: they are told by their form, not by a list."""
    arn = f"arn:{partition}:iam::111122223333:role/orders"
    expected = Role(arn=RoleArn(arn), partition=partition, account="111122223333", path="/", name="orders")
    assert parse_role_arn(arn) == expected


@pytest.mark.parametrize(
    ("resource", "path", "name"),
    [
        ("role/orders", "/", "orders"),
        ("role/shop/orders", "/shop/", "orders"),
        ("role/shop/eu-west-1/orders", "/shop/eu-west-1/", "orders"),
        ("role/aws-service-role/eks.amazonaws.com/Eks", "/aws-service-role/eks.amazonaws.com/", "Eks"),
        ("role/!#$%&'()*:;<>?[]^`{|}~/x", "/!#$%&'()*:;<>?[]^`{|}~/", "x"),
        ("role/role/role", "/role/", "role"),
        ("role/a_b+c=d,e.f@g-h", "/", "a_b+c=d,e.f@g-h"),
        ("role/" + "n" * 64, "/", "n" * 64),
        ("role/" + "p" * 510 + "/x", "/" + "p" * 510 + "/", "x"),
    ],
)
def test_paths_and_names_are_told_apart(resource: str, path: str, name: str) -> None:
    """The name is what the SDKs are told; the path, up to 512 characters with its slashes, belongs to the ARN only."""
    role = parse_role_arn(f"arn:aws:iam::111122223333:{resource}")
    assert (role.path, role.name) == (path, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orders",
        "arn:aws:iam::111122223333:role/",
        "arn:aws:iam::111122223333:role/orders/",
        "arn:aws:iam::111122223333:role//orders",
        "arn:aws:iam::111122223333:role/" + "n" * 65,
        "arn:aws:iam::111122223333:role/" + "p" * 511 + "/x",
        "arn:aws:iam::111122223333:role/two words",
        "arn:aws:iam::111122223333:role/pfad/größe",
        "arn:aws:iam::111122223333:role/orders\n",
        " arn:aws:iam::111122223333:role/orders",
        "arn:aws:iam::111122223333:user/orders",
        "arn:aws:iam::111122223333:instance-profile/orders",
        "arn:aws:sts::111122223333:assumed-role/orders/session",
        "arn:aws:iam::11112222333:role/orders",
        "arn:aws:iam::1111222233334:role/orders",
        "arn:aws:iam::١١١١٢٢٢٢٣٣٣٣:role/orders",
        "arn:aws:iam:eu-west-1:111122223333:role/orders",
        "arn:gcp:iam::111122223333:role/orders",
        "arn:AWS:iam::111122223333:role/orders",
        "arn:aws-:iam::111122223333:role/orders",
    ],
)
def test_what_is_no_role_arn_is_refused_with_the_value_and_what_is_expected(text: str) -> None:
    """The text becomes an event on the pod: it has to say what to change."""
    with pytest.raises(InvalidRole) as refusal:
        parse_role_arn(text)
    message = str(refusal.value)
    assert message.startswith(f"{ROLE_ANNOTATION} is {quoted(text)}")
    assert "expected a role ARN such as arn:aws:iam::123456789012:role/" in message
    assert message.isprintable()


@pytest.mark.parametrize("text", ["ab", "a" * 1224, "team-a:orders/2026+x=1,b@c.d_e"])
def test_external_ids_of_the_form_that_sts_takes_are_kept(text: str) -> None:
    """2 to 1224 characters, as AssumeRole says."""
    assert parse_external_id(text) == text


@pytest.mark.parametrize("text", ["", "a", "a" * 1225, "two words", "straße", "ab\n", "a*b"])
def test_other_external_ids_are_refused_with_the_value_and_what_is_expected(text: str) -> None:
    """STS would refuse them one call at a time, for ever."""
    with pytest.raises(InvalidRole) as refusal:
        parse_external_id(text)
    assert str(refusal.value).startswith(f"{EXTERNAL_ID_ANNOTATION} is {quoted(text)}; expected 2 to 1224 characters")


def test_a_message_quotes_a_bounded_part_of_a_value_on_one_line() -> None:
    """An annotation may hold 256 kB, and line breaks."""
    assert len(quoted("x" * 10_000)) < 210
    assert "\n" not in quoted("two\nlines")


def test_a_session_name_that_fits_is_namespace_and_name() -> None:
    """Trust policies are written against it: nothing is done to it without need."""
    assert session_name(namespace="shop", service_account="orders") == "shop@orders"
    longest = session_name(namespace="n" * 30, service_account="s" * 33)
    assert longest == "n" * 30 + "@" + "s" * 33
    assert len(longest) == SESSION_NAME_LIMIT


def test_r15_a_session_name_that_does_not_fit_is_cut_with_a_digest_and_stays_the_same() -> None:
    """The value is pinned: another one on the next release would break every policy that names it."""
    name = session_name(namespace="shop", service_account="orders-" + "x" * 246)
    assert name == "shop@orders-" + "x" * 35 + "=2f1753a948e922b4"
    assert len(name) == SESSION_NAME_LIMIT


def test_r15_the_namespace_is_whole_where_it_fits() -> None:
    """So that a policy may match every ServiceAccount of a namespace: namespace@*."""
    for length in range(1, 47):
        assert session_name(namespace="n" * length, service_account="s" * 253).startswith("n" * length + "@")


@given(namespace=LABEL, service_account=SUBDOMAIN)
def test_r15_every_session_name_is_one_that_sts_takes(namespace: str, service_account: str) -> None:
    """Whatever names Kubernetes allows, up to 63 and 253 characters, STS gets 2 to 64 characters of its set."""
    name = session_name(namespace=namespace, service_account=service_account)
    assert STS_SESSION_NAME.fullmatch(name)
    assert ("=" in name) == (len(namespace) + 1 + len(service_account) > SESSION_NAME_LIMIT)


@given(one=st.tuples(LABEL, SUBDOMAIN), other=st.tuples(LABEL, SUBDOMAIN))
def test_r15_two_service_accounts_never_share_a_session_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Neither "@" nor "=" occurs in a Kubernetes name, so neither a natural name nor a cut one can be imitated."""
    names = {session_name(namespace=namespace, service_account=name) for namespace, name in (one, other)}
    assert len(names) == len({one, other})


def test_r15_service_accounts_that_differ_only_after_the_cut_have_different_session_names() -> None:
    """A cut alone would hand one tenant's session name to another."""
    names = {session_name(namespace="n" * 63, service_account="s" * 252 + last) for last in LOWER_AND_DIGITS}
    assert len(names) == len(LOWER_AND_DIGITS)


def test_r15_no_natural_name_is_a_cut_one() -> None:
    """Somebody who creates a ServiceAccount named as the visible part gets a name without the digest."""
    victim = session_name(namespace="shop", service_account="s" * 253)
    visible = victim.removeprefix("shop@")
    forged = session_name(namespace="shop", service_account=visible.replace("=", "-"))
    assert forged != victim


def test_a_key_differs_by_each_of_its_parts() -> None:
    """Never the ARN alone; and an external ID that is not set is not an empty one."""
    arn, session = RoleArn("arn:aws:iam::111122223333:role/orders"), SessionName("shop@orders")
    keys = {
        RoleKey(arn=arn, external_id=None, session_name=session),
        RoleKey(arn=arn, external_id=ExternalId(""), session_name=session),
        RoleKey(arn=arn, external_id=ExternalId("ab"), session_name=session),
        RoleKey(arn=arn, external_id=None, session_name=SessionName("shop@billing")),
        RoleKey(arn=RoleArn(f"{arn}2"), external_id=None, session_name=session),
    }
    assert len(keys) == 5
    assert RoleKey(arn=arn, external_id=None, session_name=session) in keys


def test_r14_one_role_name_in_two_accounts_or_paths_is_two_roles() -> None:
    """The name is only what clients are shown."""
    arns = [
        "arn:aws:iam::111122223333:role/orders",
        "arn:aws:iam::444455556666:role/orders",
        "arn:aws:iam::111122223333:role/shop/orders",
    ]
    roles = [parse_role_arn(arn) for arn in arns]
    assert {role.name for role in roles} == {"orders"}
    keys = {RoleKey(arn=role.arn, external_id=None, session_name=SessionName("shop@orders")) for role in roles}
    assert len(keys) == 3
