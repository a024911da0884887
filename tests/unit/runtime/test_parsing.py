"""Texts of settings: what is taken, and what is said about the rest."""

from typing import Any

import pytest

from iam4kube.runtime.parsing import (
    ListenAddress,
    boolean,
    bounded,
    choice,
    comma_separated,
    duration,
    integer,
    ip_address,
    listen_address,
    number,
    port,
    positive_integer,
    text,
    url,
)


@pytest.mark.parametrize(
    ("parse", "written", "value"),
    [
        (text, "eu-west-1", "eu-west-1"),
        (duration, "15s", 15.0),
        (duration, "5m", 300.0),
        (duration, "1h30m", 5400.0),
        (duration, "250ms", 0.25),
        (duration, "1.5h", 5400.0),
        (duration, "90", 90.0),
        (duration, "0", 0.0),
        (number, "2.5", 2.5),
        (integer, "0", 0),
        (positive_integer, "20", 20),
        (boolean, "true", True),
        (boolean, "No", False),
        (choice("json", "text"), "json", "json"),
        (comma_separated(ip_address), "10.0.0.1, FD00:EC2::254,", ("10.0.0.1", "fd00:ec2::254")),
        (ip_address, "169.254.169.254", "169.254.169.254"),
        (port, "8169", 8169),
        (listen_address, "0.0.0.0:8080", ListenAddress("0.0.0.0", 8080)),
        (listen_address, "[::]:8080", ListenAddress("::", 8080)),
        (listen_address, "[fd00::1]:0", ListenAddress("fd00::1", 0)),
        (listen_address, "[10.0.0.1]:9169", ListenAddress("10.0.0.1", 9169)),
        (listen_address, ":8080", ListenAddress("", 8080)),
        (url, "https://sts.eu-west-1.amazonaws.com/", "https://sts.eu-west-1.amazonaws.com"),
        (url, "http://127.0.0.1:4566", "http://127.0.0.1:4566"),
    ],
)
def test_a_value_is_read_as_it_is_meant(parse: Any, written: str, value: object) -> None:
    """Units become seconds, addresses canonical."""
    assert parse(written) == value


@pytest.mark.parametrize(
    ("parse", "written", "expected"),
    [
        (text, "  ", "some text"),
        (duration, "", "a duration such as 15s"),
        (duration, "15 s", "a duration such as 15s"),
        (duration, "-5m", "a duration such as 15s"),
        (duration, "1d", "a duration such as 15s"),
        (duration, "nan", "a duration such as 15s"),
        (number, "1e9", "a number of zero or more"),
        (number, "inf", "a number of zero or more"),
        (integer, "1.0", "a whole number of zero or more"),
        (integer, "²", "a whole number of zero or more"),
        (positive_integer, "0", "a whole number of one or more"),
        (positive_integer, "-1", "a whole number of one or more"),
        (boolean, "maybe", "true or false"),
        (choice("json", "text"), "xml", "one of json, text"),
        (comma_separated(ip_address), "10.0.0.1,ten", "an IP address"),
        (ip_address, "10.0.0.256", "an IP address"),
        (port, "0", "a port number from 1 to 65535"),
        (port, "65536", "a port number from 1 to 65535"),
        (listen_address, "8080", "an IP address and a port"),
        (listen_address, "localhost:8080", "an IP address and a port"),
        (listen_address, "::1:8080", "an IP address and a port"),
        (listen_address, "[]:8080", "an IP address and a port"),
        (listen_address, "0.0.0.0:65536", "an IP address and a port"),
        (listen_address, "0.0.0.0:", "an IP address and a port"),
        (url, "sts.amazonaws.com", "a URL such as https://"),
        (url, "ftp://sts.amazonaws.com", "a URL such as https://"),
        (url, "https://", "a URL such as https://"),
        (url, "https://host:port", "a URL such as https://"),
        (url, "https://host/?a=b", "a URL such as https://"),
        (url, "https://[::1", "a URL such as https://"),
    ],
)
def test_a_value_that_is_none_is_answered_with_what_is_expected(parse: Any, written: str, expected: str) -> None:
    """The message goes behind the setting's name: it says what to write instead."""
    with pytest.raises(ValueError, match=f"^expected {expected}"):
        parse(written)


def test_limits_are_inclusive_and_named_as_they_were_declared() -> None:
    """Nobody should have to convert 3300.0 back into minutes."""
    session = bounded(duration, minimum="55m", maximum="12h")
    assert [session("55m"), session("12h")] == [3300.0, 43200.0]
    for written in ("54m59s", "12h1s"):
        with pytest.raises(ValueError, match=r"^expected at least 55m and at most 12h$"):
            session(written)
    with pytest.raises(ValueError, match=r"^expected at most 10$"):
        bounded(integer, maximum="10")("11")
    with pytest.raises(ValueError, match=r"^expected a duration"):
        session("long")


def test_an_address_is_written_as_it_is_read() -> None:
    """Messages and logs show what a user could write."""
    for written in ("0.0.0.0:8080", "[::1]:8080", ":8080"):
        assert str(listen_address(written)) == written
