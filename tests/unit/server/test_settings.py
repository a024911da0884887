"""The server's settings: defaults, contradictions, and what `--help` promises."""

import pytest

from iam4kube.runtime.settings import SettingsError, load
from iam4kube.server.settings import PREFIX, ServerSettings


def settings(*arguments: str, **environ: str) -> ServerSettings:
    """What `iam4kube serve` would get."""
    return load(ServerSettings, arguments, environ, prog="iam4kube serve", prefix=PREFIX)


def mistakes(*arguments: str, **environ: str) -> tuple[str, ...]:
    """What `iam4kube serve` would object to."""
    with pytest.raises(SettingsError) as raised:
        settings(*arguments, **environ)
    return raised.value.mistakes


def test_a_token_key_file_is_all_that_has_to_be_said() -> None:
    """Everything else has the default of a production replica."""
    given = settings("--token-key-file=/keys/tokens.json")
    assert str(given.metadata.token_key_file) == "/keys/tokens.json"
    assert str(given.metadata.listen) == ":8080"
    assert given.metadata.request_deadline == 15
    assert given.credentials.session_duration == 3600
    assert (given.credentials.sts_rate, given.credentials.sts_burst) == (10, 20)
    assert given.kubernetes.max_stale == 900
    assert given.operators.drain_time == 20
    assert given.operators.ready_when == "all"


def test_the_debug_port_is_on_loopback_unless_told_otherwise() -> None:
    """It names every pod's role: reaching it takes a shell in the pod or a deliberate setting."""
    assert str(settings("--generate-token-key").operators.debug_listen) == "127.0.0.1:9091"
    told = settings("--generate-token-key", "--debug-listen=:9091")
    assert str(told.operators.debug_listen) == ":9091"


def test_without_token_keys_nothing_starts() -> None:
    """The line names both ways and the command that makes a file."""
    [line] = mistakes()
    assert "--token-key-file or IAM4KUBE_TOKEN_KEY_FILE is required" in line
    assert "iam4kube token-key new FILE" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--token-key-file=x", "--generate-token-key"], ["--token-key-file", "--generate-token-key", "exclude"]),
        (["--generate-token-key", "--session-duration=15m"], ["--session-duration", "'15m'", "at least 55m"]),
        (["--generate-token-key", "--session-duration=13h"], ["--session-duration", "'13h'", "at most 12h"]),
        (["--generate-token-key", "--assume-role-arn=admin"], ["--assume-role-arn", "'admin'", "arn:aws:iam::"]),
        (
            [
                "--generate-token-key",
                "--assume-role-arn=arn:aws:iam::123456789012:role/x",
                "--session-duration=2h",
            ],
            ["--session-duration", "--assume-role-arn", "at most 1 h"],
        ),
        (["--generate-token-key", "--sts-rate=0"], ["--sts-rate", "'0'", "at least 0.1"]),
        (["--generate-token-key", "--listen=8080"], ["--listen", "'8080'", "0.0.0.0:8080"]),
        (["--generate-token-key", "--ready-when=soon"], ["--ready-when", "'soon'", "all, in-use"]),
        (["--generate-token-key", "--imds-tokens=maybe"], ["--imds-tokens", "'maybe'", "optional, required"]),
    ],
)
def test_a_mistake_is_one_line_that_names_setting_value_and_remedy(arguments: list[str], words: list[str]) -> None:
    """Whoever reads the line needs nothing else."""
    [line] = mistakes(*arguments)
    assert [word for word in words if word not in line] == []
    assert "\n" not in line


def test_all_mistakes_are_told_at_once() -> None:
    """One roll-out is enough to learn of all of them."""
    assert len(mistakes("--sts-rate=fast", "--request-deadline=soon", IAM4KUBE_LISTEN="here")) == 3


def test_every_setting_is_an_environment_variable_too() -> None:
    """Manifests set variables; a flag wins over one."""
    environ = {"IAM4KUBE_GENERATE_TOKEN_KEY": "true", "IAM4KUBE_STS_RATE": "3", "IAM4KUBE_READY_WHEN": "in-use"}
    assert settings(**environ).credentials.sts_rate == 3
    assert settings("--sts-rate=4", **environ).credentials.sts_rate == 4
    assert settings(**environ).operators.ready_when == "in-use"
