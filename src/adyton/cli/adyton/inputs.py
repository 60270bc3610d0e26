"""Files and times as people give them to the verbs about evidence: read with limits, refused with a reason."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from adyton.base.errors import InputError

STDIN: Final = "-"

# For parameters that may be '-', which otherwise looks like an option: Parameter(**STDIN_ALLOWED, help=…).
STDIN_ALLOWED: Final[dict[str, Any]] = {
    "allow_leading_hyphen": True,
    "validator": lambda _kind, given: _check_names(given),
}

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[Zz]|[+-]\d\d:\d\d)")
_NAIVE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_UNIX = re.compile(r"\d{1,12}")
_LAST_SECOND = 253_402_300_799  # of the year 9999


def read_input(path: Path, limit: int, what: str) -> bytes:
    """A file's bytes, or those of standard input where the path is ``-``; no more than ``limit`` + 1 of them.

    Whoever takes them refuses what is longer than its limit; nothing longer is held in memory.

    Raises:
        InputError: ``input.file``: it cannot be read.
    """
    if str(path) == STDIN:
        return sys.stdin.buffer.read(limit + 1)
    try:
        with path.open("rb") as stream:
            return stream.read(limit + 1)
    except IsADirectoryError as error:
        raise InputError(
            f"{what} {path} is a folder", code="input.file", hint="name the file; '-' is standard input"
        ) from error
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise InputError(
            f"{what} {path} cannot be read: {reason}", code="input.file", hint="check its name and its permissions"
        ) from error


def read_hex(text: str, limit: int, what: str) -> bytes:
    """Bytes that a person gives as hex digits, at most ``limit`` of them.

    Raises:
        InputError: ``input.hex``.
    """
    if not re.fullmatch(r"(?:[0-9a-fA-F]{2})*", text) or len(text) > 2 * limit:
        raise InputError(
            f"{what} is not up to {2 * limit} hex digits (it has {len(text)} characters)",
            code="input.hex",
            hint="two hex digits for each byte, without 0x and blanks",
        )
    return bytes.fromhex(text)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what libraries think of a stranger's certificate off the terminal; where it matters, it is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_names(given: Path | list[Path] | None) -> None:
    for path in given if isinstance(given, list) else [given]:
        if path is not None and str(path).startswith("-") and str(path) != STDIN:
            raise ValueError(f"{path} is not an option here; a file of this name is ./{path}")


def parse_time(text: str) -> datetime:
    """A point in time: RFC 3339 with Z or offset, a date (midnight UTC), or seconds since 1970.

    Raises:
        InputError: ``input.time``: anything else; a time of day without an offset could be anybody's.
    """
    given = text.strip()
    try:
        if _RFC3339.fullmatch(given):
            return datetime.fromisoformat(given.upper()).astimezone(UTC)
        if _DATE.fullmatch(given):
            return datetime.fromisoformat(given).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        pass  # a date or hour that does not exist
    if _UNIX.fullmatch(given) and int(given) <= _LAST_SECOND:
        return datetime.fromtimestamp(int(given), UTC)
    problem = "has no time zone" if _NAIVE.fullmatch(given) else "is not a point in time"
    raise InputError(
        f"the time {given[:40]!r} {problem}",
        code="input.time",
        hint="write 2026-11-22T12:00:00Z, 2026-11-22T13:00:00+01:00, 2026-11-22 (midnight UTC), or Unix seconds",
    )
