"""Holding audit logs against heads that were published on chain, and the notes of what was published from here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from adyton.base.auditfile import read_lines
from adyton.base.errors import InputError, UnavailableError
from adyton.base.files import write_atomic
from adyton.base.types import parse_address, parse_bytes32
from adyton.chain.auditanchor import Publication, PublicationError, PublishedHead, read_publication
from adyton.chain.rpc import Rpc
from adyton.cli.adyton.audit_report import Finding, Report, Word

_PUBLISHED: Final = "published-heads.json"
_SHOWN: Final = 16  # characters of a hash in a sentence


def compare(reports: list[Report], transactions: list[str], publisher: str, rpc: str) -> list[str]:
    """Hold the logs against the heads in ``transactions``; gives what is about none of them.

    With one log each head must be its own; with several each must be of one of them.
    """
    stray: list[str] = []
    for transaction in transactions:
        meant = reports
        try:
            publication = _read(transaction, rpc)
        except (PublicationError, UnavailableError) as error:
            stray.append(f"{error.message}; {error.hint}")
            continue
        if len(reports) > 1:
            meant = [report for report in reports if report.verdict.first == publication.head.log]
        if not meant:
            head = publication.head
            stray.append(
                f"the head that {transaction} published is of none of these logs: it is of one that begins with"
                f" {head.log[:_SHOWN]}"
            )
        for report in meant:
            _hold_against(report, publication, publisher)
    return stray


def compare_noted(reports: list[Report], publisher: str, rpc: str) -> None:
    """Hold each log against the heads that are noted beside it: its own, or all when none is."""
    for report in reports:
        notes = _notes(report.path)
        if not notes and report.verdict.head is None:
            continue  # nothing was recorded, nothing published
        if not notes:
            text = f"no head of this log is noted in {report.path.parent / _PUBLISHED}"
            report.findings.append(Finding(Word.NOT_COMPARED, text))
        for note in [note for note in notes if note["log"] == report.verdict.first] or notes:
            try:
                _hold_against(report, _read(str(note["transaction"]), rpc), publisher)
            except (PublicationError, UnavailableError) as error:
                report.findings.append(Finding(Word.NOT_COMPARED, f"{error.message}; {error.hint}"))


def _read(transaction: str, rpc: str) -> Publication:
    node = Rpc(rpc)
    try:
        return read_publication(node, parse_bytes32(transaction))
    finally:
        node.close()


def _hold_against(report: Report, publication: Publication, publisher: str) -> None:
    head = publication.head
    if publisher and publication.sender != parse_address(publisher):
        text = f"the head in block {publication.block} was published by {publication.sender}, not by {publisher}"
        report.findings.append(Finding(Word.NOT_COMPARED, text))
        return
    found = next((line.entry for line in read_lines(report.path) if line.number == head.seq), None)
    problem = publication.contradicted_by(report.verdict.first, report.verdict.head, found)
    if problem:
        report.findings.append(Finding(Word.NOT_AS_PUBLISHED, problem))
    else:
        report.published.append(f"{head.seq}:{head.hash} in block {publication.block} by {publication.sender}")


def note(path: Path, head: PublishedHead, transaction: str) -> None:
    """Remember the transaction; what it says is on chain, so the note need not be believed."""
    notes = [*_notes(path), {"log": head.log, "seq": head.seq, "hash": head.hash, "transaction": transaction}]
    write_atomic(path.parent / _PUBLISHED, json.dumps(notes, indent=2).encode() + b"\n")


def _notes(path: Path) -> list[dict[str, Any]]:
    file = path.parent / _PUBLISHED
    if not file.exists():
        return []
    try:
        notes = json.loads(file.read_text(encoding="utf-8"))
        whole = isinstance(notes, list) and all(
            isinstance(note["transaction"], str) and isinstance(note["log"], str) for note in notes
        )
    except (OSError, ValueError, TypeError, KeyError):
        whole, notes = False, []
    if not whole:
        raise InputError(f"{file} is damaged", code="audit.notes", hint="name the transactions with --transaction")
    return list(notes)
