"""Logs: a constant message and fields. JSON for machines; on a terminal, text that a person reads.

    logger.info("Watch restarted", extra={"resource": "pods", "seconds": 0.8})

Libraries log for themselves at debug: botocore whole responses of STS, session keys included, and kubernetes
its tokens. Theirs starts at warning, whatever the level of ours. Tracebacks of botocore's are left out at any level:
it warns of a refresh of the server's own credentials with the error, and that one's text may be the answer.
"""

import json
import logging
import math
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

FORMATS = ("auto", "json", "text")
LEVELS = ("debug", "info", "warning", "error")

_LIBRARIES = (
    "aiohttp",
    "asyncio",
    "boto3",
    "botocore",
    "kubernetes",
    "urllib3",
    "uvicorn",
    "uvicorn.error",
    "werkzeug",
)
# boto3's parts: who has, or passes on, an answer of AWS in an exception's text.
_QUOTING = frozenset(("boto3", "botocore", "urllib3"))
# `color_message` is uvicorn's message once more, with terminal colours; `taskName` is asyncio's.
_NO_FIELDS = frozenset((*RESERVED_ATTRS, "taskName", "color_message"))

_COLOURS = {logging.DEBUG: "36", logging.INFO: "32", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "35"}


def configure_logging(log_format: str = "auto", log_level: str = "info", stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (standard error by default). "auto" is text on a terminal, else JSON.

    May be called again: the last call holds.
    """
    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    handler = logging.StreamHandler(stream)
    as_text = log_format == "text" or (log_format == "auto" and terminal)
    # NO_COLOR: https://no-color.org
    handler.setFormatter(
        TextFormatter(colour=terminal and not os.environ.get("NO_COLOR")) if as_text else json_formatter()
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(log_level.upper())
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    _tolerate_colliding_fields()


class _FieldLogger(logging.Logger):
    """A logger that takes every field. The plain one raises for a field called "name" or "message": a log line
    must never be what fails. Of what quotes answers it names an error's type only.
    """

    def makeRecord(  # noqa: N802  # logging's own signature
        self,
        name: str,
        level: int,
        fn: str,
        lno: int,
        msg: object,
        args: Any,
        exc_info: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None] | None,
        func: str | None = None,
        extra: Mapping[str, object] | None = None,
        sinfo: str | None = None,
    ) -> logging.LogRecord:
        safe: dict[str, object] = {
            f"{key}_" if key in _NO_FIELDS or key == "asctime" else key: value for key, value in (extra or {}).items()
        }
        if exc_info and exc_info[0] and name.partition(".")[0] in _QUOTING:
            safe["error_type"], exc_info = exc_info[0].__name__, None
        return super().makeRecord(name, level, fn, lno, msg, args, exc_info, func, safe, sinfo)


def _tolerate_colliding_fields() -> None:
    logging.setLoggerClass(_FieldLogger)
    for logger in logging.root.manager.loggerDict.values():
        if type(logger) is logging.Logger:  # made at a module's import, before this
            logger.__class__ = _FieldLogger


class _Json(JsonFormatter):
    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """JSON knows no infinity: an age before the first event would make the line unreadable for machines."""
        for key, value in log_data.items():
            if isinstance(value, float) and not math.isfinite(value):
                log_data[key] = str(value)
        return log_data


def json_formatter() -> logging.Formatter:
    """One JSON object a line: timestamp (UTC), level, logger, message, then the fields."""
    return _Json(
        ["timestamp", "levelname", "name", "message"],
        timestamp="timestamp",
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        reserved_attrs=sorted(_NO_FIELDS),
        json_default=_plain,
        json_serializer=partial(json.dumps, skipkeys=True),
    )


class TextFormatter(logging.Formatter):
    """`2026-11-02T10:15:00.123Z INFO    Watch restarted  resource=pods seconds=0.8  [iam4kube.kube.reflector]`."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it where there is one."""
        fields = " ".join(f"{key}={_word(value)}" for key, value in vars(record).items() if key not in _NO_FIELDS)
        level = self._paint(f"{record.levelname:7}", _COLOURS.get(record.levelno, "0"))
        line = f"{_timestamp(record)} {level} {_one_line(record.getMessage())}"
        for dim in filter(None, (fields, f"[{record.name}]")):
            line += f"  {self._paint(dim, '2')}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text


def _timestamp(record: logging.LogRecord) -> str:
    return _plain(datetime.fromtimestamp(record.created, UTC))


def _plain(value: object) -> str:
    """What JSON has no form for. `str` shows no secret: the types that hold one see to it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)


def _word(value: object) -> str:
    """A field's value as one word: quoted where it would not read as one."""
    text = _plain(value)
    return text if text.isprintable() and text and not set(text) & set(" \"'=") else json.dumps(text)


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]
