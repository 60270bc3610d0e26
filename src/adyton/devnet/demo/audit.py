"""Reading the audit records of the network's SMS and CAS, as their operator does: they hold ids, hashes and codes."""

from __future__ import annotations

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
        AuditLine(seq, mac, datetime.fromisoformat(entry["at"]), entry["event"], entry["fields"])
        for seq, mac, entry in _rows(folder / "sms.sqlite3", "SELECT seq, mac, entry FROM audit ORDER BY seq")
    ]


def cas_audit(folder: Path) -> list[AuditLine]:
    """The record of a CAS, oldest first."""
    return [
        AuditLine(seq, link, datetime.fromisoformat(record["at"]), record["event"], record)
        for seq, link, record in _rows(folder / "cas.sqlite3", "SELECT seq, hash, record FROM audit ORDER BY seq")
    ]


def _rows(database: Path, query: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        for seq, link, text in connection.execute(query):
            yield seq, link, json.loads(text)
