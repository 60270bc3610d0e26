"""Reading a service's audit log offline, from its SQLite file, without writing to it and without any key.

What is shown is what is in the file; :func:`check` says up to where it is the chain that was written. Which service
wrote it is told by the first entry, whose hash only one service's domain gives.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adyton.base.auditchain import GENESIS, AuditChain, AuditEntry
from adyton.base.errors import InputError, UnavailableError

_QUERY: Final = "SELECT seq, record, hash FROM audit ORDER BY seq"
_MAX_RECORD: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file, as it is.

    Attributes:
        number: its place in the file, from 1.
        entry: the entry; None where a column holds another type than it must.
    """

    number: int
    entry: AuditEntry | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a log is worth.

    Attributes:
        service: who wrote it; empty when the first entry is nobody's.
        head: the last good entry; None when there is none.
        first: hash of the first entry: the log's name.
        bad_line: number of the first line that is not the one that was written; 0: none.
        reason: of that.
    """

    service: str
    head: AuditEntry | None
    first: str
    bad_line: int = 0
    reason: str = ""


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a log; the service may be running.

    Raises:
        InputError: there is no such file, it is damaged, or it holds no audit log.
        UnavailableError: it cannot be read now.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist", code="audit.file.absent")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            for number, (seq, record, digest) in enumerate(connection.execute(_QUERY), start=1):
                yield Line(number, _entry(seq, record, digest))
    except sqlite3.OperationalError as error:
        if "no such table" in str(error) or "no such column" in str(error):
            raise _no_log(path, error) from error
        raise UnavailableError(f"{path} cannot be read: {error}", code="audit.file.unreadable") from error
    except sqlite3.DatabaseError as error:
        if "malformed" in str(error):
            raise InputError(
                f"{path} is damaged: {error}",
                code="audit.file.damaged",
                hint="keep it as evidence, and put the newest whole copy of its folder back",
            ) from error
        raise _no_log(path, error) from error


def check(lines: Iterable[Line], chains: Mapping[str, AuditChain]) -> Verdict:
    """Follow the chain from its beginning to the first line that does not belong there.

    Args:
        lines: all lines of a log, in order.
        chains: the known services' chains, by name.
    """
    service, first, previous, last = "", "", GENESIS, None
    for line in lines:
        entry = line.entry
        if entry is None:
            return Verdict(service, last, first, line.number, "it is not an entry: a column holds another type")
        if entry.seq != line.number:
            return Verdict(service, last, first, line.number, f"entry {line.number} is missing: this is {entry.seq}")
        if not service:
            service, first = _service(entry, chains), entry.hash
        if not service or not hmac.compare_digest(chains[service].link(previous, entry.record), entry.hash):
            return Verdict(service, last, first, line.number, "it is not the one that was written: its hash is another")
        previous, last = entry.hash, entry
    return Verdict(service, last, first)


def fields(entry: AuditEntry) -> dict[str, Any]:
    """What an entry says, flat: a member ``fields`` of a record is dissolved; empty when it is not JSON."""
    try:
        values = json.loads(entry.record)
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    inner = values.pop("fields", None)
    return {**values, **(inner if isinstance(inner, dict) else {})}


def _service(entry: AuditEntry, chains: Mapping[str, AuditChain]) -> str:
    return next((name for name, chain in chains.items() if chain.link(GENESIS, entry.record) == entry.hash), "")


def _entry(seq: object, record: object, digest: object) -> AuditEntry | None:
    if not isinstance(seq, int) or not isinstance(record, str) or not isinstance(digest, str):
        return None
    if len(digest) != len(GENESIS) or not set(digest) <= set("0123456789abcdef") or len(record) > _MAX_RECORD:
        return None
    return AuditEntry(seq, record, digest)


def _no_log(path: Path, error: sqlite3.DatabaseError) -> InputError:
    return InputError(
        f"{path} holds no audit log: {error}",
        code="audit.file.format",
        hint="name the database file of a CAS (cas.db) or of an SMS (sms.sqlite3)",
    )
