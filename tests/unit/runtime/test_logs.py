"""Logs: JSON for machines, a line for people, no secret, and never a failure of their own."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from iam4kube.runtime.logs import configure_logging
from tests.support.kept_logging import kept_logging

logger = logging.getLogger("iam4kube.tests.logs")


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


class Guarded(msgspec.Struct):
    """Holds a secret, and a `repr` that does not show it."""

    secret: str

    def __repr__(self) -> str:
        return "Guarded(…)"


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Leaves the process's logging as it was."""
    with kept_logging():
        yield


def logged(log_format: str = "json", level: str = "info", stream: io.StringIO | None = None) -> io.StringIO:
    """Where logs go from now on."""
    stream = stream or io.StringIO()
    configure_logging(log_format, level, stream)
    return stream


def test_json_has_a_constant_message_and_fields() -> None:
    """One object a line; time in UTC."""
    stream = logged()
    before = datetime.now(UTC)
    logger.info("Watch restarted", extra={"resource": "pods", "seconds": 0.8})
    line = json.loads(stream.getvalue())
    timestamp = line.pop("timestamp")
    assert line == {
        "level": "INFO",
        "logger": "iam4kube.tests.logs",
        "message": "Watch restarted",
        "resource": "pods",
        "seconds": 0.8,
    }
    assert timestamp.endswith("Z")
    assert abs((datetime.fromisoformat(timestamp) - before).total_seconds()) < 5


def test_json_shows_no_secret_and_takes_every_value() -> None:
    """A structure is shown as its `repr` shows it, wherever it stands; infinity stays valid JSON."""
    stream = logged()
    guarded = Guarded("hunter2")
    fields = {"one": guarded, "many": [guarded], "by_name": {"x": guarded}, "age": float("inf"), "odd": {(1, 2): 3}}
    logger.info("Fields", extra={**fields, "when": datetime(2026, 11, 1, 10, tzinfo=UTC), "error": ValueError("no")})
    assert "hunter2" not in stream.getvalue()
    line = json.loads(stream.getvalue(), parse_constant=pytest.fail)
    assert (line["one"], line["many"], line["by_name"]) == ("Guarded(…)", ["Guarded(…)"], {"x": "Guarded(…)"})
    assert (line["age"], line["when"], line["error"]) == ("inf", "2026-11-01T10:00:00.000Z", "no")


def test_json_keeps_a_traceback_on_the_line() -> None:
    """Log collectors work by lines."""
    stream = logged()
    try:
        int("the defect")
    except ValueError:
        logger.exception("Failed")
    (text,) = stream.getvalue().splitlines()
    assert json.loads(text)["exception"].endswith("ValueError: invalid literal for int() with base 10: 'the defect'")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_fields_named_like_logging_s_own_are_renamed_and_never_fail(log_format: str) -> None:
    """Plain logging raises for them, which would make a log line the thing that breaks a request."""
    stream = logged(log_format)
    names = ("name", "message", "args", "exc_info", "asctime", "created", "module", "levelname", "msg")
    logger.warning("Collision", extra=dict.fromkeys(names, "x"))
    for name in names:
        assert f'"{name}_": "x"' in stream.getvalue() or f"{name}_=x" in stream.getvalue()
    assert "Collision" in stream.getvalue()


def test_text_is_one_readable_line() -> None:
    """Words as they are, everything else quoted and escaped, so that no value can fake a line."""
    stream = logged("text")
    logger.info("Role %s", "fo\nund", extra={"pod": "shop/orders-1", "text": "two words\n", "empty": "", "count": 3})
    (line,) = stream.getvalue().splitlines()
    timestamp, rest = line.split(" ", 1)
    assert datetime.fromisoformat(timestamp).tzinfo == UTC
    assert rest == (
        r'INFO    Role fo\nund  pod=shop/orders-1 text="two words\n" empty="" count=3  [iam4kube.tests.logs]'
    )


def test_text_puts_a_traceback_below_the_line() -> None:
    """A person reads it there."""
    stream = logged("text")
    try:
        int("the defect")
    except ValueError:
        logger.exception("Failed", extra={"task": "watch"})
    lines = stream.getvalue().splitlines()
    assert "Failed  task=watch" in lines[0]
    assert lines[1].startswith("Traceback")
    assert lines[-1] == "ValueError: invalid literal for int() with base 10: 'the defect'"


def test_auto_is_text_with_colours_on_a_terminal_and_json_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR and a redirection both turn colours off."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, file, asked_for = logged("auto", stream=Terminal()), io.StringIO(), io.StringIO()
    logger.info("Hello")
    logged("auto", stream=file)
    logger.info("Hello")
    logged("text", stream=asked_for)
    logger.info("Hello")
    monkeypatch.setenv("NO_COLOR", "1")
    plain = logged("auto", stream=Terminal())
    logger.info("Hello")
    assert "\x1b[32mINFO" in terminal.getvalue()
    assert json.loads(file.getvalue())["message"] == "Hello"
    assert "INFO    Hello" in asked_for.getvalue()
    assert "INFO    Hello" in plain.getvalue()


def test_the_level_is_ours_and_libraries_start_at_warning() -> None:
    """At debug, botocore logs whole STS answers, and kubernetes its tokens."""
    stream = logged(level="debug")
    logger.debug("Ours")
    for library in ("botocore.parsers", "urllib3.connectionpool", "kubernetes.client.rest", "uvicorn.error", "asyncio"):
        logging.getLogger(library).debug("Response body: hunter2")
        logging.getLogger(library).info("Response body: hunter2")
        logging.getLogger(library).warning("Trouble")
    messages = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert messages == ["Ours"] + ["Trouble"] * 5


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("library", ["botocore.credentials", "boto3", "urllib3.connection"])
def test_tracebacks_of_what_quotes_answers_are_left_out(log_format: str, library: str) -> None:
    """A refresh that failed is warned of with its error, whose text may be all that STS answered."""
    stream = logged(log_format, level="debug")
    try:
        int("invalid XML received: hunter2")
    except ValueError:
        logging.getLogger(library).warning("Refreshing failed", exc_info=True)
    assert "hunter2" not in stream.getvalue()
    assert "Refreshing failed" in stream.getvalue()
    assert "ValueError" in stream.getvalue()


def test_the_level_error_holds_for_libraries_too() -> None:
    """Nobody is noisier than asked for."""
    stream = logged(level="error")
    logger.warning("Ours")
    logging.getLogger("botocore").warning("Theirs")
    assert stream.getvalue() == ""


def test_a_second_call_replaces_the_first() -> None:
    """No line twice."""
    first, second = logged(), logged()
    logger.info("Hello")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_warnings_are_logged() -> None:
    """Not written past the format to standard error."""
    stream = logged()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("odd", UserWarning, stacklevel=1)
    assert json.loads(stream.getvalue())["logger"] == "py.warnings"
