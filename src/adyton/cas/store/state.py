"""The state of a CAS as a whole: the folder with master key, database and head file, opened, and its keys exchanged."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from adyton.base import aead
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import UnavailableError
from adyton.base.log import get_logger
from adyton.base.secret import Secret
from adyton.cas.store.audit import AuditEntry, AuditEvent, AuditLog
from adyton.cas.store.authorities import CurrentAuthority, create_authority, opens, replace_authority
from adyton.cas.store.head import Anchor, HeadFile, RolledBackError
from adyton.cas.store.keys import Keys
from adyton.cas.store.ledger import Ledger, Transaction
from adyton.cas.store.repo import rewrite_rows
from adyton.cas.store.sealed import (
    StateFiles,
    begin_exchange,
    drop_exchange,
    end_exchange,
    interrupted_exchange,
    open_master_key,
)
from adyton.cas.store.tables import AUDIT_CHAIN, open_database, reading

if TYPE_CHECKING:
    from adyton.platform.protocol import Platform
    from adyton.platform.sealing import RollbackCounter

_log: Final = get_logger("cas.state")


class KeyExchangeError(UnavailableError):
    """An earlier exchange of keys in this process did not end in order."""

    code = "cas.keys.unsettled"
    hint = "start the CAS again: it finds out which key the database is under and goes on with that one"


@dataclass(slots=True)
class CasState:
    """An open state.

    Attributes:
        ledger: where everything is written.
        audit: its log.
        authority: gives the current authority.
        clock: time.
    """

    platform: Platform
    folder: Path
    ledger: Ledger
    audit: AuditLog
    authority: CurrentAuthority
    clock: Clock = utc_now
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _settled: bool = True

    def rotate_keys(self, client: str) -> AuditEntry:
        """Exchange the master key, with it every key derived from it, and the authority's; the old ones are gone then.

        What sessions say stays: their secrets and volume keys, the seeds of enclave-keys. So enclaves get the same keys
        as before. Who keeps the old authority's root goes on, by the certificate that its key made of the new root.

        Args:
            client: key hash of who asked, for the audit log.

        Raises:
            KeyExchangeError: an earlier exchange failed half-way; only a start can settle it.
            StoreCorruptError: a row is not the one that was written; nothing is changed.
            UnavailableError, OSError: the disk or the platform does not take it; a start settles which key holds.
        """
        with self._lock:
            if not self._settled:
                raise KeyExchangeError("an earlier exchange of keys in this process did not end in order")
            self._settled = False
            master = aead.new_key()
            begin_exchange(self.platform, self.folder, master)
            before = self.authority()
            after = before.succeed(self.clock())
            event = AuditEvent(
                "keys.rotate", "done", client=client, authority=after.fingerprint, authority_before=before.fingerprint
            )

            def rewrite(transaction: Transaction, keys: Keys) -> int:
                replace_authority(transaction.db, transaction.keys, keys, before, after)
                return rewrite_rows(transaction, keys)

            entry = self.ledger.rotate(Keys.of(master), rewrite, self.audit.record(event))
            end_exchange(self.folder)
            self._settled = True
        self.ledger.checkpoint()
        _log.info("master key and authority exchanged", entry=entry.seq, authority=after.fingerprint)
        return entry

    def close(self) -> None:
        """Let go of the files."""
        self.ledger.close()


def open_state(
    platform: Platform,
    folder: Path,
    *,
    clock: Clock = utc_now,
    counter: RollbackCounter | None = None,
    anchor: Anchor | None = None,
) -> CasState:
    """Open the state in ``folder``, or make one where there is none.

    Args:
        platform: unseals the master key.
        folder: where it is.
        clock: time, for the audit log.
        counter: a counter that the host cannot set back; see :mod:`adyton.cas.store.head`.
        anchor: an audit entry that must be in the log, known from elsewhere.

    Raises:
        SealedStateError: the state is another CPU's or another CAS build's, or a part of it is missing.
        RolledBackError: it is older than what was acknowledged.
        StoreCorruptError, AuditBrokenError: it was altered.
        UnavailableError: it cannot be read, or another CAS has it open.
    """
    files = StateFiles(folder)

    def initialise(master: Secret[bytes]) -> None:
        _create(files, Keys.of(master), clock, counter)

    master = open_master_key(platform, folder, initialise)
    with contextlib.ExitStack() as opened:
        engine = open_database(files.database)
        opened.callback(engine.dispose)
        keys = [Keys.of(master)]
        following = interrupted_exchange(platform, folder)
        exchanged = following is not None and opens(engine, Keys.of(following))
        if following is not None and exchanged:
            keys.insert(0, Keys.of(following))
        head = HeadFile(files.head, [each.head for each in keys], counter)
        opened.callback(head.close)
        ledger = Ledger(engine, keys[0], head, anchor)
        if following is not None:
            _settle(folder, ledger, exchanged=exchanged)
        ledger.checkpoint()  # a kill may have come between a write and the end of what it overwrote
        opened.pop_all()  # the ledger's from now on
    return CasState(platform, folder, ledger, AuditLog(ledger, clock), CurrentAuthority(ledger), clock)


def _create(files: StateFiles, keys: Keys, clock: Clock, counter: RollbackCounter | None) -> None:
    """Make database and head file; what an interrupted creation has made is kept."""
    engine = open_database(files.database)
    try:
        with reading(), engine.connect() as db:
            written = int(db.execute(select(func.count()).select_from(AUDIT_CHAIN.entries)).scalar_one())
        if written:
            raise RolledBackError(
                f"{files.database} has {written} audit entries, but its key is of a creation that never ended"
            )
        create_authority(engine, keys, clock)
    finally:
        engine.dispose()
    HeadFile.create(files.head, keys.head, counter)


def _settle(folder: Path, ledger: Ledger, *, exchanged: bool) -> None:
    if exchanged:
        ledger.rewrite_head()
        end_exchange(folder)
    else:
        drop_exchange(folder)
    _log.info("an interrupted exchange of the master key was settled", key="new" if exchanged else "old")
