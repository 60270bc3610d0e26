"""Reading the audit records of the network's SMS and CAS, as their operator does: they hold ids, hashes and codes."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One entry: its number, link in the hash chain, time, and what it says."""

    seq: int
    link: str
    at: datetime
    event: str
    fields: dict[str, Any]


def sms_audit(folder: Path) -> list[AuditLine]:
    """The record of an SMS, oldest first."""
    return [
        AuditLine(seq, link, datetime.fromisoformat(entry["at"]), entry["event"], entry["fields"])
        for seq, link, entry in _rows(folder / "sms.sqlite3", "SELECT seq, hash, record FROM audit ORDER BY seq")
    ]


def cas_audit(folder: Path) -> list[AuditLine]:
    """The record of a CAS, oldest first."""
    return [
        AuditLine(seq, link, datetime.fromisoformat(record["at"]), record["event"], record)
        for seq, link, record in _rows(folder / "cas.db", "SELECT seq, hash, record FROM audit ORDER BY seq")
    ]


def stored_rows(folder: Path) -> dict[str, str]:
    """SHA-256 of every encrypted secret that an SMS keeps, by the address it belongs to; the value nobody can read."""
    with closing(sqlite3.connect(f"file:{folder / 'sms.sqlite3'}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT owner, value FROM secret WHERE kind IN ('app', 'web3', 'requester')")
        return {owner: hashlib.sha256(value).hexdigest() for owner, value in rows}


def _rows(database: Path, query: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        for seq, link, text in connection.execute(query):
            yield seq, link, json.loads(text)
