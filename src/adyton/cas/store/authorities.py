"""The row of the CAS's authority: made with the database, read by who issues, succeeded when the keys are exchanged.

It changes in one transaction with the master key that it is encrypted under. So whoever finds the keys unchanged has
the current authority, and a kill during an exchange leaves old key and old authority, or both new.
"""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from adyton.base.canonical import canonical_json
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import UnavailableError
from adyton.cas.errors import StoreCorruptError
from adyton.cas.face.authority import Authority
from adyton.cas.store.keys import Keys
from adyton.cas.store.ledger import Ledger
from adyton.cas.store.tables import AUTHORITY, driver_text, reading

_ROOT: Final = "root"
_VERSION: Final = 1


class CurrentAuthority:
    """Gives the current authority; read anew only after an exchange.

    Args:
        ledger: of the state.

    Raises (when called):
        StoreCorruptError: its row was altered, or the master key is another database's.
        UnavailableError: the database cannot be read now.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: tuple[Keys, Authority] | None = None

    def __call__(self) -> Authority:
        """The current authority."""
        while True:
            keys, known = self._ledger.keys, self._known
            if known is not None and known[0] is keys:
                return known[1]
            try:
                with reading(), self._ledger.engine.connect() as db:
                    found = _require(db, keys)
            except StoreCorruptError:
                if self._ledger.is_current(keys):
                    raise
                continue  # the keys were exchanged between the two looks
            self._known = keys, found
            return found


def create_authority(engine: Engine, keys: Keys, clock: Clock = utc_now) -> None:
    """Make the authority of a new database, unless an interrupted creation came that far.

    Raises:
        StoreCorruptError: there is one, under another key.
        UnavailableError: the database cannot be written.
    """
    try:
        with engine.begin() as db:
            if _find(db, keys) is None:
                db.execute(insert(AUTHORITY).values(id=_ROOT, **_columns(keys, Authority.create(clock()))))
    except SQLAlchemyError as error:
        raise UnavailableError(
            f"the CAS's database cannot be written: {driver_text(error)}", code="cas.store.unwritable"
        ) from error


def opens(engine: Engine, keys: Keys) -> bool:
    """Whether the database is under these keys."""
    with reading(), engine.connect() as db:
        try:
            return _find(db, keys) is not None
        except StoreCorruptError:
            return False


def replace_authority(db: Connection, old: Keys, keys: Keys, before: Authority, after: Authority) -> None:
    """Put ``after``, under ``keys``, in the place of ``before``.

    Raises:
        StoreCorruptError: it is not ``before`` that is there.
    """
    if _require(db, old).root != before.root:
        raise StoreCorruptError("the authority of the CAS is not the one that was read before")
    db.execute(update(AUTHORITY).where(AUTHORITY.c.id == _ROOT).values(_columns(keys, after)))


def _require(db: Connection, keys: Keys) -> Authority:
    found = _find(db, keys)
    if found is None:
        raise StoreCorruptError("the authority of the CAS is missing")
    return found


def _find(db: Connection, keys: Keys) -> Authority | None:
    row = db.execute(select(AUTHORITY).where(AUTHORITY.c.id == _ROOT)).one_or_none()
    if row is None:
        return None
    return Authority.from_plain(json.loads(keys.authority.open(_ROOT, row.version, row.body)))


def _columns(keys: Keys, authority: Authority) -> dict[str, object]:
    return {"version": _VERSION, "body": keys.authority.seal(_ROOT, _VERSION, canonical_json(authority.to_plain()))}
