"""All rows of the database as a stream of bytes, and back: what a backup holds, before encryption.

Record: ``length(u32, big-endian) || fields``, each field preceded by its length likewise. The first names the kind of
the row; values are in clear, so that they can be sealed anew for the database that they are put into. A row at a time
is in memory, and a page of them when written.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, insert, select

from adyton.base.aead import bind
from adyton.sms.backup.sealedfile import Sink
from adyton.sms.errors import BackupError
from adyton.sms.store.database import Database
from adyton.sms.store.tables import Kind, SecretKey, challenge_place, challenges_table, secrets_table, writes_table

_LENGTH: Final = struct.Struct(">I")
_MAX_RECORD: Final = 64 << 10  # bytes; the largest real one, a secret with its name, is below 6 KiB
_PAGE: Final = 500
_SECRET, _CHALLENGE, _WRITE = b"secret", b"tee_challenge", b"signed_write"
_FIELDS: Final = {_SECRET: 5, _CHALLENGE: 5, _WRITE: 2}
_TABLES: Final = {_SECRET: secrets_table, _CHALLENGE: challenges_table, _WRITE: writes_table}


class RowStream:
    """Dumps and loads the rows of a database."""

    def __init__(self, database: Database) -> None:
        self._secrets = database.cipher(secrets_table.name)
        self._challenges = database.cipher(challenges_table.name)

    def dump(self, db: Connection, sink: Sink) -> dict[str, int]:
        """Write every row; returns their numbers by table.

        Raises:
            DatabaseRowError: a row does not open, so that no backup could restore it.
        """
        counts = dict.fromkeys((name.decode() for name in _TABLES), 0)
        with closing(self._rows(db)) as rows:
            for name, *fields in rows:
                record = bind(name, *fields)
                sink.write(_LENGTH.pack(len(record)) + record)
                counts[name.decode()] += 1
        return counts

    def load(self, db: Connection, chunks: Iterable[bytes]) -> dict[str, int]:
        """Replace every row, in the caller's transaction; returns the numbers of new ones by table.

        Raises:
            BackupError: the stream is not one that :meth:`dump` writes.
        """
        for table in _TABLES.values():
            db.execute(delete(table))
        counts = dict.fromkeys((name.decode() for name in _TABLES), 0)
        for name, group in groupby(_records(chunks), key=lambda record: record[0]):
            if name not in _TABLES:
                raise BackupError("the backup holds rows of an unknown kind", code="sms.backup.rows")
            try:
                for page in _pages(self._row(name, fields) for _name, fields in group):
                    db.execute(insert(_TABLES[name]), page)
                    counts[name.decode()] += len(page)
            except ValueError:  # a kind, a number or a text that is none
                raise BackupError("the backup holds a malformed row", code="sms.backup.rows") from None
        return counts

    def _rows(self, db: Connection) -> Generator[tuple[bytes, ...]]:
        for row in _all(db, secrets_table):
            key = SecretKey(Kind(row.kind), row.owner, row.name)
            value = self._secrets.open(row.value, f"a {row.kind} secret of {row.owner}", *key.place(row.version))
            yield _SECRET, row.kind.encode(), row.owner.encode(), row.name.encode(), _number(row.version), value
        for row in _all(db, challenges_table):
            place = challenge_place(row.task_id, row.address, row.final_deadline)
            value = self._challenges.open(row.private_key, f"the challenge of task {row.task_id}", *place)
            numbers = _number(row.final_deadline), _number(row.sessions)
            yield _CHALLENGE, row.task_id.encode(), row.address.encode(), *numbers, value
        for row in _all(db, writes_table):
            yield _WRITE, row.mark.encode(), _number(row.at)

    def _row(self, name: bytes, fields: list[bytes]) -> dict[str, Any]:
        if len(fields) != _FIELDS[name]:
            raise BackupError("the backup holds a row with missing fields", code="sms.backup.rows")
        if name == _WRITE:
            return {"mark": fields[0].decode(), "at": int(fields[1])}
        if name == _CHALLENGE:
            task_id, address, deadline = fields[0].decode(), fields[1].decode(), int(fields[2])
            return {
                "task_id": task_id,
                "address": address,
                "final_deadline": deadline,
                "sessions": int(fields[3]),
                "private_key": self._challenges.seal(fields[4], *challenge_place(task_id, address, deadline)),
            }
        key, version = SecretKey(Kind(fields[0].decode()), fields[1].decode(), fields[2].decode()), int(fields[3])
        return {
            "kind": key.kind.value,
            "owner": key.owner,
            "name": key.name,
            "version": version,
            "value": self._secrets.seal(fields[4], *key.place(version)),
        }


def _all(db: Connection, table: Table) -> Generator[Any]:
    with db.execute(select(table)) as result:  # closes the server's cursor when the reader stops early, too
        yield from result


def _number(value: int) -> bytes:
    return str(value).encode()


def _records(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, list[bytes]]]:
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        at = 0
        while len(buffer) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(buffer, at)
            if size > _MAX_RECORD:
                raise BackupError("the backup holds a row that is too long", code="sms.backup.rows")
            if len(buffer) - at < _LENGTH.size + size:
                break
            name, *fields = _fields(bytes(buffer[at + _LENGTH.size : at + _LENGTH.size + size]))
            yield name, fields
            at += _LENGTH.size + size
        del buffer[:at]
    if buffer:
        raise BackupError("the backup ends in the middle of a row", code="sms.backup.rows")


def _fields(record: bytes) -> Iterator[bytes]:
    """The inverse of :func:`adyton.base.aead.bind`; what is cut gives shorter fields, which the caller counts."""
    at = 0
    while at < len(record):
        (size,) = _LENGTH.unpack_from(record.ljust(at + _LENGTH.size, b"\xff"), at)
        yield record[at + _LENGTH.size : at + _LENGTH.size + size]
        at += _LENGTH.size + size


def _pages(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    page: list[dict[str, Any]] = []
    for row in rows:
        page.append(row)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page
