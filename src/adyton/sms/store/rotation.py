"""Every row sealed anew, in the transaction that gives the database another id and so other keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Column, Connection, Table, bindparam, select, tuple_, update

from adyton.sms.store.rowcipher import RowCipher
from adyton.sms.store.tables import Kind, SecretKey, challenge_place, challenges_table, secrets_table

_PAGE: Final = 500
_SECRET: Final = (
    update(secrets_table)
    .where(
        secrets_table.c.kind == bindparam("at_kind"),
        secrets_table.c.owner == bindparam("at_owner"),
        secrets_table.c.name == bindparam("at_name"),
    )
    .values(value=bindparam("sealed"))
)
_CHALLENGE: Final = (
    update(challenges_table)
    .where(challenges_table.c.task_id == bindparam("at_task"))
    .values(private_key=bindparam("sealed"))
)


def reseal(db: Connection, secrets: RowCipher, challenges: RowCipher) -> int:
    """Seal every value with the ciphers' present keys, whichever of theirs it was sealed with; returns their number.

    Raises:
        DatabaseRowError: a row does not open; nothing may be committed then.
    """
    count = 0
    for page in _pages(db, secrets_table, secrets_table.c.kind, secrets_table.c.owner, secrets_table.c.name):
        rows = []
        for row in page:
            key = SecretKey(Kind(row.kind), row.owner, row.name)
            place = key.place(row.version)
            value = secrets.open(row.value, f"a {row.kind} secret of {row.owner}", *place)
            sealed = secrets.seal(value, *place)
            rows.append({"at_kind": row.kind, "at_owner": row.owner, "at_name": row.name, "sealed": sealed})
        db.execute(_SECRET, rows)
        count += len(rows)
    for page in _pages(db, challenges_table, challenges_table.c.task_id):
        rows = []
        for row in page:
            place = challenge_place(row.task_id, row.address, row.final_deadline)
            value = challenges.open(row.private_key, f"the challenge of task {row.task_id}", *place)
            rows.append({"at_task": row.task_id, "sealed": challenges.seal(value, *place)})
        db.execute(_CHALLENGE, rows)
        count += len(rows)
    return count


def _pages(db: Connection, table: Table, *keys: Column[Any]) -> Iterator[Sequence[Any]]:
    """All rows by primary key, a page in memory at a time; those in hand may be changed."""
    query = select(table).order_by(*keys).limit(_PAGE)
    page = db.execute(query).all()
    while page:
        yield page
        last = [getattr(page[-1], key.name) for key in keys]
        page = db.execute(query.where(tuple_(*keys) > tuple_(*last))).all()
