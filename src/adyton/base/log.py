"""Structured logs: one JSON object a line on standard error, or readable text on a terminal.

Log ids, codes and counts; never a secret (``Secret`` masks itself) and never a session id (log its hash).
"""

from __future__ import annotations

import hashlib
import logging
import sys
from typing import cast

import structlog


def configure(level: str = "info", *, json_lines: bool | None = None) -> None:
    """Set up logging for a process; called once by each program's main."""
    as_json = not sys.stderr.isatty() if json_lines is None else json_lines
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            cast("structlog.types.Processor", renderer),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,  # so that another call takes effect in loggers that were used before
    )


def get_logger(room: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of a room; ``room`` is the dotted name shown in each line."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger(room=room))


def short_hash(text: str) -> str:
    """What to log in place of a session id: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
