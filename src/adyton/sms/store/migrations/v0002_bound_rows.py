"""Rows bound to the database's id and padded; the audit log chained like the CAS's, with its head kept encrypted.

Every value is opened as the first schema sealed it and sealed anew, and the old audit log's keyed chain is checked
before the new chain is made over the same entries: what was altered before is refused, not carried over.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    String,
    bindparam,
    insert,
    select,
    table,
    tuple_,
    update,
)

from adyton.base.aead import DecryptionError, bind, decrypt, derive_key
from adyton.base.secret import Secret
from adyton.sms.errors import DatabaseKeyError, DatabaseRowError
from adyton.sms.store.marker import ID_BYTES, OTHER_KEY, check_first_marker, seal_marker
from adyton.sms.store.rowcipher import RowCipher
from adyton.sms.store.tables import AuditError

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0002"
down_revision: str | None = "0001"

_PAGE = 500
_GENESIS = "00" * 32
_DOMAIN = b"adyton/sms/audit/2"


def _table(name: str, *columns: str) -> Any:  # noqa: ANN401  # SQLAlchemy's TableClause, whose columns are dynamic
    return table(name, *(Column(column) for column in columns))


_secret = _table("secret", "kind", "owner", "name", "version", "value")
_challenge = _table("tee_challenge", "task_id", "address", "final_deadline", "private_key")
_write = _table("signed_write", "mark")
_marker = _table("marker", "id", "value")
_audit = _table("audit", "seq", "record", "hash")
_head = _table("audit_head", "id", "version", "body")


def upgrade(op: Operations, key: Secret[bytes]) -> None:
    """Rewrite what there is."""
    db = op.get_bind()
    database_id = _identify(db, key)
    _reseal_secrets(db, key, database_id)
    _reseal_challenges(db, key, database_id)
    op.alter_column("audit", "entry", new_column_name="record")
    op.alter_column("audit", "mac", new_column_name="hash")
    op.create_table(
        "audit_head",
        Column("id", String(16), primary_key=True),
        Column("version", Integer, nullable=False),
        Column("body", LargeBinary, nullable=False),
    )
    _rechain_audit(db, key, database_id)


def _identify(db: Connection, key: Secret[bytes]) -> bytes:
    """Give the database an id, once its key is known to be ours."""
    marker = db.execute(select(_marker.c.value).where(_marker.c.id == 1)).scalar_one_or_none()
    if marker is not None:
        check_first_marker(key, bytes(marker))
    elif any(db.execute(select(rows).limit(1)).first() for rows in (_secret, _challenge, _write)):
        raise DatabaseKeyError(
            "the database holds rows but not the marker of the key they were made with", hint=OTHER_KEY
        )
    database_id = os.urandom(ID_BYTES)
    sealed = seal_marker(key, database_id)
    if marker is None:
        db.execute(insert(_marker).values(id=1, value=sealed))
    else:
        db.execute(update(_marker).where(_marker.c.id == 1).values(value=sealed))
    return database_id


def _reseal_secrets(db: Connection, key: Secret[bytes], database_id: bytes) -> None:
    old, new = derive_key(key, "sms/secret"), RowCipher(key, database_id, "secret")
    at = _secret.c
    here = (at.kind == bindparam("at_kind"), at.owner == bindparam("at_owner"), at.name == bindparam("at_name"))
    statement = update(_secret).where(*here).values(value=bindparam("sealed"))
    for page in _pages(db, _secret, at.kind, at.owner, at.name):
        rows = []
        for row in page:
            place = (row.kind.encode(), row.owner.encode(), row.name.encode(), str(row.version).encode())
            value = _open(old, row.value, f"a {row.kind} secret of {row.owner}", b"secret", *place)
            sealed = new.seal(value, *place)
            rows.append({"at_kind": row.kind, "at_owner": row.owner, "at_name": row.name, "sealed": sealed})
        db.execute(statement, rows)


def _reseal_challenges(db: Connection, key: Secret[bytes], database_id: bytes) -> None:
    old, new = derive_key(key, "sms/challenge"), RowCipher(key, database_id, "tee_challenge")
    here = _challenge.c.task_id == bindparam("at_task")
    statement = update(_challenge).where(here).values(private_key=bindparam("sealed"))
    for page in _pages(db, _challenge, _challenge.c.task_id):
        rows = []
        for row in page:
            place = (row.task_id.encode(), row.address.encode(), str(row.final_deadline).encode())
            value = _open(old, row.private_key, f"the challenge of task {row.task_id}", b"tee_challenge", *place)
            rows.append({"at_task": row.task_id, "sealed": new.seal(value, *place)})
        db.execute(statement, rows)


def _rechain_audit(db: Connection, key: Secret[bytes], database_id: bytes) -> None:
    mac_key = derive_key(key, "sms/audit").reveal()
    mac, digest, seq = _GENESIS, _GENESIS, 0
    statement = update(_audit).where(_audit.c.seq == bindparam("at_seq")).values(hash=bindparam("link"))
    for page in _pages(db, _audit, _audit.c.seq):
        rows = []
        for row in page:
            seq += 1
            message = bind(b"adyton/sms/audit/1", str(seq).encode(), mac.encode(), row.record.encode())
            mac = hmac.new(mac_key, message, hashlib.sha256).hexdigest()
            if row.seq != seq or not hmac.compare_digest(mac, row.hash):
                raise AuditError(f"the audit log is broken at entry {seq}")
            digest = hashlib.sha256(bind(_DOMAIN, bytes.fromhex(digest), row.record.encode())).hexdigest()
            rows.append({"at_seq": seq, "link": digest})
        db.execute(statement, rows)
    if seq:
        body = RowCipher(key, database_id, "audit_head").seal(digest.encode(), b"last", str(seq).encode())
        db.execute(insert(_head).values(id="last", version=seq, body=body))


def _open(key: Secret[bytes], blob: bytes, what: str, *context: bytes) -> bytes:
    try:
        return decrypt(key, bytes(blob), *context)
    except DecryptionError:
        raise DatabaseRowError(f"{what} does not open at its place") from None


def _pages(db: Connection, rows: Any, *keys: Any) -> Iterator[Sequence[Any]]:  # noqa: ANN401  # SQLAlchemy's own types
    """All rows by primary key, a page in memory at a time; those in hand may be changed."""
    query = select(rows).order_by(*keys).limit(_PAGE)
    page = db.execute(query).all()
    while page:
        yield page
        last = (getattr(page[-1], key.name) for key in keys)
        page = db.execute(query.where(tuple_(*keys) > tuple_(*last))).all()
