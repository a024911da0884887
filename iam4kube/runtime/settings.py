"""Settings, declared once: flag, environment variable, help and checks all come from the same dataclass.

    @dataclass(frozen=True, kw_only=True)
    class RouterSettings:
        listen: ListenAddress = setting(":9090", parse=listen_address, help="Where operators listen.")
        logs: LogSettings = section(LogSettings)

gives `--listen` and, with the prefix "IP2SERVICE_", the variable `IP2SERVICE_LISTEN`. A flag wins over the
variable, the variable over the default; an empty variable counts as not set, which is what a blank in a
manifest means. Settings are read once, at start, and every mistake is reported at once: whoever fixes a
manifest should not learn of the second mistake after the next roll-out.

A method `check(self) -> Iterable[str]` of the dataclass, if it has one, yields a line for each contradiction
between settings. It is called once every setting by itself is right.
"""

import argparse
import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from iam4kube.runtime.arguments import SettingsParser
from iam4kube.runtime.mistakes import SettingsError
from iam4kube.runtime.parsing import boolean

__all__ = [
    "SettingsError",
    "SettingsParser",
    "add_settings",
    "load",
    "read_settings",
    "section",
    "setting",
    "unknown_variables",
]

T = TypeVar("T")

_DECLARATION = "setting"
_SECTION = "section"
_DEFAULT_GROUP = "Settings"
_PRECEDENCE = "A flag wins over its environment variable; an empty variable counts as not set."
# Kubernetes gives every container variables about every Service of its namespace (`enableServiceLinks`). For
# a Service called "iam4kube" they are IAM4KUBE_PORT, IAM4KUBE_SERVICE_HOST, ...: a setting of such a name would
# get an address that nobody set.
_SERVICE_LINK = re.compile(r"PORT(_.*)?|SERVICE_HOST|SERVICE_PORT(_.*)?")


@dataclass(frozen=True)
class _Declaration:
    """What `setting` was told."""

    parse: Callable[[str], Any]
    help: str
    metavar: str
    group: str
    required: bool
    default: str
    """As help shows it; empty for none."""


@dataclass(frozen=True)
class _Setting:
    """One setting with the names it goes by."""

    key: str
    """The attribute in argparse's namespace: unique over all sections."""
    flag: str
    variable: str
    declaration: _Declaration

    def names(self) -> str:
        return f"{self.flag} or {self.variable}"


@overload
def setting(*, parse: Callable[[str], T], help: str, metavar: str = ..., group: str = ...) -> T: ...
@overload
def setting(
    default: None, *, parse: Callable[[str], T], help: str, metavar: str = ..., group: str = ...
) -> T | None: ...
@overload
def setting(default: str | T, *, parse: Callable[[str], T], help: str, metavar: str = ..., group: str = ...) -> T: ...
def setting(
    default: Any = dataclasses.MISSING,
    *,
    parse: Callable[[str], Any],
    help: str,  # noqa: A002  # argparse's word for it
    metavar: str = "VALUE",
    group: str = "",
) -> Any:
    """Declare a setting, as the default of a field of a keyword-only dataclass.

    `default` is written as a user would write it ("15s") and parsed, or is a value of another type; None makes
    the setting optional; without it the setting is required. `parse` raises `ValueError` with what it expects.
    """
    value = parse(default) if isinstance(default, str) else default
    declaration = _Declaration(
        parse=parse,
        help=help,
        metavar="BOOLEAN" if parse is boolean and metavar == "VALUE" else metavar,
        group=group,
        required=default is dataclasses.MISSING,
        default="" if default is dataclasses.MISSING or default is None else _shown(default),
    )
    return dataclasses.field(default=value, metadata={_DECLARATION: declaration})


def section(cls: type[T], *, group: str = "") -> T:
    """Declare a field that holds settings of their own, such as those both programs share.

    Their flags are not prefixed. `group` titles those settings that name no group themselves.
    """
    field: T = dataclasses.field(default_factory=cls, metadata={_SECTION: cls, "group": group})
    return field


def load(
    cls: type[T],
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    prog: str,
    prefix: str,
    description: str = "",
) -> T:
    """Read settings from a command line and the environment. Raises `SettingsError`; `--help` exits with 0."""
    parser = SettingsParser(prog=prog, description=description)
    add_settings(parser, cls, prefix)
    return read_settings(cls, parser.parse_args(arguments), environ, prefix)


def add_settings(parser: argparse.ArgumentParser, cls: type[Any], prefix: str) -> None:
    """Add a flag for each setting of `cls`, in groups. `parser` may be a subcommand's."""
    parser.usage = parser.usage or "%(prog)s [--setting=VALUE ...]"
    parser.epilog = parser.epilog or _PRECEDENCE
    groups: dict[str, argparse._ArgumentGroup] = {}
    for each in _settings(cls, prefix):
        declaration = each.declaration
        title = declaration.group or _DEFAULT_GROUP
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        facts = "required" if declaration.required else f"default: {declaration.default or 'none'}"
        groups[title].add_argument(
            each.flag,
            dest=each.key,
            metavar=declaration.metavar,
            help=f"{declaration.help}\n[{facts}; environment: {each.variable}]".replace("%", "%%"),
            # A bare flag is true; "--flag=false" turns off what is on by default or by the environment.
            nargs="?" if declaration.parse is boolean else None,
            const="true" if declaration.parse is boolean else None,
        )


def read_settings(cls: type[T], namespace: argparse.Namespace, environ: Mapping[str, str], prefix: str) -> T:
    """The settings of `cls` from parsed arguments and the environment. Raises `SettingsError` with every mistake."""
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for each in _settings(cls, prefix):
        given = _given(each, namespace, environ)
        if given is None:
            if each.declaration.required:
                mistakes.append(f"{each.flag} is required: {each.declaration.help.rstrip('.')}; set {each.names()}")
            continue
        name, other, text = given
        try:
            values[each.key] = each.declaration.parse(text)
        except ValueError as error:
            mistakes.append(f"{name} is {_quoted(text)}: {error} ({other})")
    if mistakes:
        raise SettingsError(mistakes)
    settings, contradictions = _build(cls, values)
    if contradictions:
        raise SettingsError(contradictions)
    return settings


def unknown_variables(cls: type[Any], environ: Mapping[str, str], prefix: str) -> tuple[str, ...]:
    """A line for each variable that looks like a misspelt setting of `cls`: worth a warning, not a refusal.

    A manifest may be older or newer than the program, so a variable nobody knows is no mistake by itself.
    """
    known = [each.variable for each in _settings(cls, prefix)]
    lines = []
    for variable in sorted(environ):
        if not variable.startswith(prefix) or variable in known or _SERVICE_LINK.fullmatch(variable[len(prefix) :]):
            continue
        if close := difflib.get_close_matches(variable, known, n=1, cutoff=0.85):
            lines.append(f"environment variable {variable} is no setting; did you mean {close[0]}?")
    return tuple(lines)


def _settings(cls: type[Any], prefix: str, group: str = "") -> Iterator[_Setting]:
    """Every setting of `cls` and its sections, in the order of declaration."""
    for field in dataclasses.fields(cls):
        if _SECTION in field.metadata:
            yield from _settings(field.metadata[_SECTION], prefix, field.metadata["group"] or group)
        elif _DECLARATION in field.metadata:
            declaration: _Declaration = field.metadata[_DECLARATION]
            if _SERVICE_LINK.fullmatch(field.name.upper()):
                raise TypeError(
                    f"{field.name}: Kubernetes sets {prefix}{field.name.upper()} by itself; name it otherwise"
                )
            yield _Setting(
                key=field.name,
                flag=f"--{field.name.replace('_', '-')}",
                variable=f"{prefix}{field.name.upper()}",
                declaration=dataclasses.replace(declaration, group=declaration.group or group),
            )


def _given(each: _Setting, namespace: argparse.Namespace, environ: Mapping[str, str]) -> tuple[str, str, str] | None:
    """The name the user used, the other one, and the text; None when the setting was not given."""
    from_flag: str | None = getattr(namespace, each.key)
    if from_flag is not None:
        return each.flag, f"environment: {each.variable}", from_flag
    if from_environ := environ.get(each.variable, ""):
        return each.variable, f"flag: {each.flag}", from_environ
    return None


def _build(cls: type[T], values: Mapping[str, Any]) -> tuple[T, list[str]]:
    """The dataclass from the values by key, sections first, and what its checks object to."""
    arguments: dict[str, Any] = {}
    contradictions: list[str] = []
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # settings are dataclasses by contract
        if _SECTION in field.metadata:
            arguments[field.name], more = _build(field.metadata[_SECTION], values)
            contradictions += more
        elif field.name in values:
            arguments[field.name] = values[field.name]
    settings = cls(**arguments)
    check: Callable[[], Iterable[str]] | None = getattr(settings, "check", None)
    return settings, contradictions + (list(check()) if check else [])


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _quoted(text: str, *, limit: int = 200) -> str:
    """A user's text for a message: escaped, on one line, bounded."""
    return repr(text if len(text) <= limit else f"{text[:limit]}…")
