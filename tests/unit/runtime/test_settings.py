"""Settings: one declaration, read from flags and the environment, with every mistake said at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from iam4kube.runtime.parsing import ListenAddress, boolean, bounded, choice, duration, listen_address, text, url
from iam4kube.runtime.settings import (
    SettingsError,
    SettingsParser,
    add_settings,
    load,
    read_settings,
    section,
    setting,
    unknown_variables,
)


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What both programs share."""

    log_format: str = setting("auto", parse=choice("auto", "json", "text"), help="How logs look.", metavar="FORMAT")


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """One setting of each kind."""

    listen: ListenAddress = setting(
        ":8080", parse=listen_address, metavar="ADDRESS", group="Serving", help="Where 100% of the requests arrive."
    )
    cluster: str = setting(parse=text, metavar="NAME", help="The cluster's name.")
    endpoint_url: str | None = setting(None, parse=url, metavar="URL", help="Another endpoint.")
    session_duration: float = setting(
        "1h", parse=bounded(duration, minimum="55m", maximum="12h"), metavar="DURATION", help="How long."
    )
    drain_time: float = setting(20.0, parse=duration, help="Grace.")
    verbose: bool = setting(False, parse=boolean, help="Say more.")
    logs: LogSettings = section(LogSettings, group="Logs")

    def check(self) -> Iterator[str]:
        """One contradiction."""
        if self.verbose and self.drain_time > 60:
            yield "--verbose and --drain-time over 60 contradict each other: leave one out"


def read(*arguments: str, environ: Mapping[str, str] | None = None) -> ServiceSettings:
    """What a start with these arguments reads."""
    return load(ServiceSettings, arguments, environ or {}, prog="service", prefix="SERVICE_")


def mistakes(*arguments: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """What a start with these arguments complains of."""
    with pytest.raises(SettingsError) as error:
        read(*arguments, environ=environ)
    return error.value.mistakes


def test_defaults_hold_where_nothing_is_given() -> None:
    """A default written as a user would write it is parsed like any value."""
    expected = ServiceSettings(
        listen=ListenAddress("", 8080),
        cluster="blue",
        endpoint_url=None,
        session_duration=3600.0,
        drain_time=20.0,
        verbose=False,
        logs=LogSettings(log_format="auto"),
    )
    assert read("--cluster=blue") == expected


def test_a_flag_wins_over_the_variable_and_the_variable_over_the_default() -> None:
    """The nearest to whoever starts the program."""
    environ = {"SERVICE_CLUSTER": "green", "SERVICE_LOG_FORMAT": "json", "SERVICE_DRAIN_TIME": "1m"}
    settings = read("--cluster", "blue", "--drain-time=2m", environ=environ)
    assert (settings.cluster, settings.drain_time, settings.logs.log_format) == ("blue", 120.0, "json")


def test_an_empty_variable_is_not_set() -> None:
    """A blank in a manifest's template."""
    assert read("--cluster=blue", environ={"SERVICE_SESSION_DURATION": ""}).session_duration == 3600.0
    assert mistakes(environ={"SERVICE_CLUSTER": ""})[0].startswith("--cluster is required")


@pytest.mark.parametrize(
    ("arguments", "environ", "verbose"),
    [
        ([], {}, False),
        (["--verbose"], {}, True),
        (["--verbose=false"], {}, False),
        ([], {"SERVICE_VERBOSE": "yes"}, True),
        (["--verbose=no"], {"SERVICE_VERBOSE": "true"}, False),
    ],
)
def test_a_bare_flag_is_true_and_can_be_turned_off(
    arguments: list[str], environ: dict[str, str], verbose: bool
) -> None:
    """Whatever the environment says, the command line has the last word."""
    assert read("--cluster=blue", *arguments, environ=environ).verbose is verbose


def test_every_mistake_is_said_at_once_with_setting_value_and_remedy() -> None:
    """Whoever fixes a manifest should not learn of the second mistake after the next roll-out."""
    environ = {"SERVICE_SESSION_DURATION": "20m", "SERVICE_LOG_FORMAT": "xml"}
    assert mistakes("--listen=here", environ=environ) == (
        f"--listen is 'here': {LISTEN_EXPECTED} (environment: SERVICE_LISTEN)",
        "--cluster is required: The cluster's name; set --cluster or SERVICE_CLUSTER",
        "SERVICE_SESSION_DURATION is '20m': expected at least 55m and at most 12h (flag: --session-duration)",
        "SERVICE_LOG_FORMAT is 'xml': expected one of auto, json, text (flag: --log-format)",
    )


def test_a_value_is_quoted_on_one_line_and_bounded() -> None:
    """A whole file may have got into a variable."""
    (mistake,) = mistakes("--cluster=blue", environ={"SERVICE_DRAIN_TIME": "x\n" * 1000})
    assert mistake.isprintable()
    assert len(mistake) < 600


def test_contradictions_are_looked_for_once_every_setting_is_right() -> None:
    """A check may rely on the values."""
    assert mistakes("--cluster=blue", "--verbose", "--drain-time=2m") == (
        "--verbose and --drain-time over 60 contradict each other: leave one out",
    )
    assert len(mistakes("--verbose", "--drain-time=2m")) == 1


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        (["--clutser=blue"], "'--clutser' is not known; did you mean --cluster?"),
        (["--clutser", "blue"], "'--clutser' is not known; did you mean --cluster?"),
        (["--zebra"], "'--zebra' is not known; see service --help"),
        (["stray"], "'stray' is not known; see service --help"),
        (["--clust=blue"], "'--clust' is not known; did you mean --cluster?"),
        (["--cluster"], "argument --cluster: expected one argument (see service --help)"),
    ],
)
def test_unknown_flags_are_named_with_what_was_probably_meant(arguments: list[str], mistake: str) -> None:
    """Abbreviations are unknown too: they would change their meaning when a longer flag is added."""
    assert mistakes(*arguments) == (mistake,)


def test_settings_work_on_subcommands() -> None:
    """Each command its own, one parser for all."""
    parser = SettingsParser(prog="service")
    commands = parser.add_subparsers(dest="command", required=True)
    add_settings(commands.add_parser("serve"), ServiceSettings, "SERVICE_")
    add_settings(commands.add_parser("logs"), LogSettings, "SERVICE_")
    namespace = parser.parse_args(["serve", "--cluster=blue"])
    assert read_settings(ServiceSettings, namespace, {}, "SERVICE_").cluster == "blue"
    namespace = parser.parse_args(["logs"])
    assert read_settings(LogSettings, namespace, {"SERVICE_LOG_FORMAT": "text"}, "SERVICE_").log_format == "text"
    with pytest.raises(SettingsError, match="did you mean --cluster"):
        parser.parse_args(["serve", "--clutser=blue"])


LISTEN_EXPECTED = "expected an IP address and a port such as 0.0.0.0:8080, [::]:8080, or :8080 for every address"

HELP = """\
usage: service [--setting=VALUE ...]

Serves.

options:
  -h, --help
      show this help message and exit

Serving:
  --listen ADDRESS
      Where 100% of the requests arrive.
      [default: :8080; environment: SERVICE_LISTEN]

Settings:
  --cluster NAME
      The cluster's name.
      [required; environment: SERVICE_CLUSTER]
  --endpoint-url URL
      Another endpoint.
      [default: none; environment: SERVICE_ENDPOINT_URL]
  --session-duration DURATION
      How long.
      [default: 1h; environment: SERVICE_SESSION_DURATION]
  --drain-time VALUE
      Grace.
      [default: 20.0; environment: SERVICE_DRAIN_TIME]
  --verbose[=BOOLEAN]
      Say more.
      [default: false; environment: SERVICE_VERBOSE]

Logs:
  --log-format FORMAT
      How logs look.
      [default: auto; environment: SERVICE_LOG_FORMAT]

A flag wins over its environment variable; an empty variable counts as not set.
"""


def test_help_shows_every_setting_by_group_with_its_default_and_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The face of the program."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        load(ServiceSettings, ["--help"], {}, prog="service", prefix="SERVICE_", description="Serves.")
    assert end.value.code == 0
    assert capsys.readouterr().out == HELP


@pytest.mark.parametrize("columns", ["40", "80", "300"])
def test_help_fits_the_terminal_and_stays_readable_on_a_wide_one(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrapped at the terminal's width, and at 100 characters at the latest."""

    @dataclass(frozen=True, kw_only=True)
    class Wordy:
        wordy: str | None = setting(None, parse=text, help="Very wordy help, " * 30)

    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        load(Wordy, ["--help"], {}, prog="service", prefix="SERVICE_")
    widest = max(map(len, capsys.readouterr().out.splitlines()))
    assert widest <= min(int(columns), 100)


def test_a_misspelt_variable_is_worth_a_warning() -> None:
    """It is silently without effect otherwise."""
    environ = {"SERVICE_SESION_DURATION": "1h", "SERVICE_CLUSTER": "blue", "OTHER_SESION_DURATION": "1h"}
    assert unknown_variables(ServiceSettings, environ, "SERVICE_") == (
        "environment variable SERVICE_SESION_DURATION is no setting; did you mean SERVICE_SESSION_DURATION?",
    )


def test_variables_that_kubernetes_sets_for_a_service_of_our_name_are_no_mistakes() -> None:
    """`enableServiceLinks` gives every container PREFIX_PORT and more for each Service of its namespace."""
    links = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR")
    environ = {f"SERVICE_{link}": "tcp://10.96.0.50:80" for link in links}
    assert unknown_variables(ServiceSettings, environ, "SERVICE_") == ()


@pytest.mark.parametrize("name", ["port", "service_host", "service_port", "port_http"])
def test_no_setting_can_have_a_name_that_kubernetes_sets(name: str) -> None:
    """It would get an address that nobody has set."""
    with pytest.raises(TypeError, match="Kubernetes sets SERVICE_"):
        load(_settings_called(name), [], {}, prog="service", prefix="SERVICE_")


def _settings_called(name: str) -> type[object]:
    namespace = {"__annotations__": {name: str}, name: setting("x", parse=text, help="X.")}
    return dataclass(frozen=True, kw_only=True)(type("Settings", (), namespace))


def test_settings_can_be_made_in_code_with_their_defaults() -> None:
    """For tests, and for a program that starts a part of another."""
    assert ServiceSettings(cluster="blue") == read("--cluster=blue")
