"""The process's logging, as it was again after a test that configures it."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def kept_logging() -> Iterator[None]:
    """Restore handlers, level and class of loggers."""
    root = logging.getLogger()
    handlers, level, logger_class = root.handlers[:], root.level, logging.getLoggerClass()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.setLoggerClass(logger_class)
        logging.captureWarnings(capture=False)
