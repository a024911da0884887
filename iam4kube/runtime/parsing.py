"""From the text of a flag or an environment variable to a checked value.

A parser takes the text and returns the value, or raises `ValueError` with what is expected instead: the
settings put the setting's name and the text before it. Parsers compose: `bounded(duration, minimum="1m")`,
`comma_separated(listen_address)`.
"""

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")


OrderedT = TypeVar("OrderedT", int, float)
Parser = Callable[[str], T]

_SECONDS_PER_UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s)")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_HIGHEST_PORT = 65535


@dataclass(frozen=True)
class ListenAddress:
    """Where to listen."""

    host: str
    """An IP address without brackets; empty for every address, IPv4 and IPv6."""
    port: int
    """0 lets the kernel choose."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def text(value: str) -> str:
    """Any text that is not blank."""
    if not value.strip():
        raise ValueError("expected some text")
    return value


def future_file(value: str) -> Path:
    """The path of a file whose content is checked when it is read."""
    return Path(value).expanduser()


def duration(value: str) -> float:
    """A duration in seconds: "15s", "1h30m", "250ms", or a plain number of seconds."""
    if _NUMBER.fullmatch(value):
        return float(value)
    if not _DURATION.fullmatch(value):
        raise ValueError("expected a duration such as 15s, 5m, 1h30m or 250ms")
    return math.fsum(float(number) * _SECONDS_PER_UNIT[unit] for number, unit in _DURATION_PART.findall(value))


def number(value: str) -> float:
    """A number of zero or more, fractions allowed."""
    if not _NUMBER.fullmatch(value):
        raise ValueError("expected a number of zero or more, such as 10 or 2.5")
    return float(value)


def integer(value: str) -> int:
    """A whole number of zero or more."""
    if not (value.isascii() and value.isdecimal()):
        raise ValueError("expected a whole number of zero or more")
    return int(value)


def positive_integer(value: str) -> int:
    """A whole number of one or more."""
    if not (value.isascii() and value.isdecimal()) or int(value) == 0:
        raise ValueError("expected a whole number of one or more")
    return int(value)


def boolean(value: str) -> bool:
    """True or false; a flag without a value is true."""
    match value.lower():
        case "true" | "yes" | "on" | "1":
            return True
        case "false" | "no" | "off" | "0":
            return False
        case _:
            raise ValueError("expected true or false")


def choice(*allowed: str) -> Parser[str]:
    """One of `allowed`, written as it stands there."""

    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return value

    return parse


def bounded(parse: Parser[OrderedT], *, minimum: str | None = None, maximum: str | None = None) -> Parser[OrderedT]:
    """`parse`, with limits, written as a user would write them: the message repeats them as they stand."""
    lowest = None if minimum is None else parse(minimum)
    highest = None if maximum is None else parse(maximum)
    limits = " and ".join(
        [f"at least {minimum}"] * (minimum is not None) + [f"at most {maximum}"] * (maximum is not None)
    )

    def parse_bounded(value: str) -> OrderedT:
        parsed = parse(value)
        if (lowest is not None and parsed < lowest) or (highest is not None and parsed > highest):
            raise ValueError(f"expected {limits}")
        return parsed

    return parse_bounded


def comma_separated(parse: Parser[T]) -> Parser[tuple[T, ...]]:
    """Several values of the same kind; empty parts are left out."""

    def parse_all(value: str) -> tuple[T, ...]:
        return tuple(parse(part.strip()) for part in value.split(",") if part.strip())

    return parse_all


def ip_address(value: str) -> str:
    """An IPv4 or IPv6 address, in canonical text."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("expected an IP address such as 169.254.169.254 or fd00:ec2::254") from None


def port(value: str) -> int:
    """A port number, 1 to 65535."""
    if not (value.isascii() and value.isdecimal()) or not 1 <= int(value) <= _HIGHEST_PORT:
        raise ValueError(f"expected a port number from 1 to {_HIGHEST_PORT}")
    return int(value)


def listen_address(value: str) -> ListenAddress:
    """HOST:PORT. The host is an IP address, IPv6 in brackets; without a host: every address of both families.

    IPv4 may be in brackets too: a manifest that takes the host from the downward API does not know its family.
    """
    host, colon, port_text = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    address = host[1:-1] if bracketed else host
    try:
        family = ipaddress.ip_address(address).version if address or bracketed else None
        valid = bool(colon) and (bracketed or family != 6)
        valid = valid and port_text.isascii() and port_text.isdecimal() and int(port_text) <= _HIGHEST_PORT
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(
            "expected an IP address and a port such as 0.0.0.0:8080, [::]:8080, or :8080 for every address"
        )
    return ListenAddress(host=address, port=int(port_text))


def url(value: str) -> str:
    """An http or https URL, without a trailing slash."""
    try:
        parts = urlsplit(value)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or any(character.isspace() for character in value):
        raise ValueError("expected a URL such as https://sts.eu-west-1.amazonaws.com")
    return value.rstrip("/")
