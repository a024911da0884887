"""nftables, by libnftables: one transaction in, one table out.

Beside a table of kube-proxy's size (5,000 chains, 20,000 rules, a map of 100,000 elements, an interval set of 5,000)
a transaction takes 9 ms and reading a table 6; alone on the machine 0.2 and 0.9 (libnftables 1.0.6, kernel 6.18).
Reading fetches one table, and all chains' names. Writing fetches all chains' and sets' names and the elements of
interval sets. `list tables` fetches every table whole, 750 ms here: nothing of ours may ask for that.
"""

import ctypes
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self

from iam4kube.runtime.mistakes import SettingsError
from ip2service.kernel.listing import UnknownListing, parse_listing
from ip2service.kernel.thread import CALL_SECONDS, KernelThread, stay
from ip2service.kernel_protocols import KernelError

Kind = Literal["permission", "unsupported", "rejected"]

_NETLINK_NETFILTER: Final = 12  # linux/netlink.h
_NFTABLES_GROUP: Final = 1 << (7 - 1)  # NFNLGRP_NFTABLES, linux/netfilter/nfnetlink.h
_LIBRARY: Final = "libnftables.so.1"
_REMEDIES: Final[dict[Kind, str]] = {
    "permission": "; the capability NET_ADMIN is missing: grant it",
    "unsupported": "; this kernel has no nf_tables, or lacks a part of it: load its module, or build it in",
    "rejected": "",
}
_NO_CACHE: Final = "cache initialization failed"  # the first question to the kernel
_UNSUPPORTED: Final = ("not supported", "Function not implemented")
_NOT_THERE: Final = "Error: No such file or directory"
# "/proc/self/fd/7:3:17-23: Error: Could not process rule: No such file or directory"
_FAULT: Final = re.compile(r":(?P<line>\d+):(?P<column>\d+)-\d+: Error: (?P<message>.*)$", re.MULTILINE)
_COMMENT: Final = re.compile(r'^\tcomment "(.*)"$', re.MULTILINE)
_FAULTS_LIMIT = 3  # what the kernel refuses it may refuse for each element
_EXCERPT = 80  # characters of a line on either side of the fault: a line may have thousands of elements


class RulesetError(KernelError):
    """A transaction was refused, and nothing of it done; or a table could not be read.

    The message has the kernel's words and the lines concerned. `kind` says whose fault it is: a missing capability,
    a kernel without what is needed, or the text's.
    """

    def __init__(self, message: str, *, kind: Kind) -> None:
        self.kind: Kind = kind
        super().__init__(f"{message}{_REMEDIES[kind]}")


@dataclass(frozen=True, kw_only=True)
class TableState:
    """A table of family `inet` as the kernel has it. Structure and elements are asked for one after the other."""

    structure: str
    """As `nft --stateless --terse list table` prints it: no elements, no counts."""
    elements: dict[str, dict[str, str]]
    """As `ruleset.Elements`."""
    packets: dict[str, int]
    """By chain: what its rules have counted, in packets."""
    comment: str
    """The table's own; empty if it has none."""


class NfTables:
    """Tables of the `inet` family. An asynchronous context manager; calls queue up behind each other."""

    def __init__(self, *, enter: Callable[[], None] = stay, deadline: float = CALL_SECONDS) -> None:
        """`enter` is called first in the thread: sockets stay in the network namespace that their thread was in.

        `deadline`: seconds for a call.
        """
        self._thread = KernelThread("nftables", deadline=deadline)
        self._enter = enter
        self._context: _Context | None = None

    async def __aenter__(self) -> Self:
        """Raises `SettingsError` where libnftables is missing.

        And `RulesetError` where the kernel has no netfilter, or this process no NET_ADMIN.
        """
        await self._thread.start(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._thread.stop(self._release)

    async def apply(self, text: str) -> None:
        """One transaction: all of it or nothing. Raises `RulesetError`, `KernelStuck`."""
        await self._thread.call(lambda: self._opened().apply(text))

    async def read(self, table: str) -> TableState | None:
        """The table of this name, or None. Raises `RulesetError`, `KernelStuck`."""
        return await self._thread.call(lambda: self._opened().read(table))

    def _open(self) -> None:
        self._enter()
        self._context = _Context()

    def _opened(self) -> "_Context":
        if self._context is None:
            raise RuntimeError("NfTables is used outside `async with`")
        return self._context

    def _release(self) -> None:
        if self._context is not None:
            self._context.close()
            self._context = None


class _Context:
    """libnftables' context: its socket and its cache. Made, used and freed in one thread."""

    def __init__(self) -> None:
        _check_library()
        _check_netlink()
        from nftables import Nftables

        self._nft = Nftables(_LIBRARY)

    def close(self) -> None:
        """Free it now, in this thread: somebody may still hold an exception, whose traceback holds this object."""
        del self._nft

    def apply(self, text: str) -> None:
        # libnftables names the line of a fault only in text from a file; of a string, it quotes the first line.
        file = os.memfd_create("rules")
        try:
            with os.fdopen(file, "w", closefd=False) as rules:
                rules.write(text)
            status, _, error = self._nft.cmd(f'include "/proc/self/fd/{file}"')
        finally:
            os.close(file)
        if status != 0:
            raise _refusal(error, text)

    def read(self, table: str) -> TableState | None:
        structure = self._list(table, terse=True)
        listed = structure and self._list(table, terse=False)
        if not structure or not listed:
            return None
        try:
            listing = parse_listing(listed)
        except UnknownListing as error:
            raise RulesetError(str(error), kind="rejected") from error
        comment = _COMMENT.search(structure)
        return TableState(
            structure=structure,
            elements=listing.elements(table),
            packets=listing.packets(),
            comment=comment.group(1) if comment else "",
        )

    def _list(self, table: str, *, terse: bool) -> str | None:
        """The structure as text, or everything as JSON. None if there is no such table."""
        self._nft.set_terse_output(terse)
        self._nft.set_stateless_output(terse)
        self._nft.set_json_output(not terse)
        command = f"list table inet {table}"
        try:
            status, output, error = self._nft.cmd(command)
        finally:
            self._nft.set_json_output(False)  # it changes how input is read, too
        if status == 0:
            return str(output)
        if error.startswith(_NOT_THERE):
            return None
        raise _refusal(error, command)


def _check_library() -> None:
    """The bindings print a traceback of their own when they are collected without a library."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise SettingsError([f"{error}; install libnftables (Debian: libnftables1)"]) from error


def _check_netlink() -> None:
    """Without a socket, libnftables would end the whole process; without NET_ADMIN, it writes to standard error."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as opened:
            opened.bind((0, _NFTABLES_GROUP))  # to listen needs the same capability as to ask
    except OSError as error:
        kind: Kind = "permission" if isinstance(error, PermissionError) else "unsupported"
        raise RulesetError(f"netlink cannot be used: {error.strerror}", kind=kind) from error


def _refusal(error: str, text: str) -> RulesetError:
    faults = list(_FAULT.finditer(error))
    lines = text.splitlines()
    shown = [f"{fault['message']}: {_excerpt(lines, fault)}" for fault in faults[:_FAULTS_LIMIT]]
    if len(faults) > _FAULTS_LIMIT:
        shown.append(f"and {len(faults) - _FAULTS_LIMIT} more")
    message = "; ".join(shown) or error.partition("\n")[0].removeprefix("netlink: ").removeprefix("Error: ")
    return RulesetError(f"nftables: {message}", kind=_kind(error))


def _kind(error: str) -> Kind:
    """Elsewhere, "Operation not permitted" is no missing capability: the kernel says it of a table with an owner."""
    if _NO_CACHE in error:
        return "permission" if "Operation not permitted" in error else "unsupported"
    return "unsupported" if any(phrase in error for phrase in _UNSUPPORTED) else "rejected"


def _excerpt(lines: list[str], fault: re.Match[str]) -> str:
    number, column = int(fault["line"]), int(fault["column"])
    line = lines[number - 1] if number <= len(lines) else ""
    start, end = max(0, column - 1 - _EXCERPT), column - 1 + _EXCERPT
    excerpt = f"{'…' if start else ''}{line[start:end].strip()}{'…' if end < len(line) else ''}"
    return f"line {number}: {excerpt}"
