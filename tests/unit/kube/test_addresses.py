"""Canonical addresses: one text for each address, whoever spells it."""

import pytest

from iam4kube.kube.addresses import canonical_address


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::FFFF:0a01:0203", "10.1.2.3"),
        ("FD00:0:0:0:0:0:0:1", "fd00::1"),
        ("2001:db8::0001", "2001:db8::1"),
    ],
)
def test_every_spelling_has_one_text(text: str, canonical: str) -> None:
    """IPv4-mapped addresses are IPv4, and IPv6 is lower case and compressed."""
    assert canonical_address(text) == canonical


@pytest.mark.parametrize(
    "text",
    ["", "node-1", "10.1.2", "10.1.2.03", "10.1.2.3 ", "10.1.2.3:80", "10.1.0.0/16", "fe80::1%eth0", "::1::", "1\x00"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Names, ports, prefixes, zones and second spellings of IPv4 are no addresses."""
    with pytest.raises(ValueError, match=r"."):
        canonical_address(text)
