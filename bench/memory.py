"""``sms.memory`` and ``cas.memory``: what one process holds, at rest, and with 100,000 secrets or 30,000 sessions.

The rows are put in beforehand, sealed as the services seal them, in few transactions; then the real process opens that
state, is measured, does its work under load, and is measured again. The figure is the largest that was seen resident.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.load import drive
from bench.processes import Memory
from bench.row import Row
from sqlalchemy import insert
from tests.cas.documents import small_document, to_yaml
from tests.cas.house import CAS, House

from adyton.base.canonical import canonical_json
from adyton.base.secret import Secret
from adyton.cas.language.session import parse_session
from adyton.cas.releasing.material import Material, make_material
from adyton.cas.store.repo import SessionRepo, StoredSession
from adyton.cas.store.state import open_state
from adyton.chain.wallet import Wallet
from adyton.sms.store.database import Database
from adyton.sms.store.tables import SecretKey, secrets_table, writes_table
from bench import cas_load, sms_load
from bench import sms_stage as stage

AIM_MB: Final = 150.0
_CHUNK: Final = 5_000


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done; tests do little."""

    secrets: int = 100_000
    sessions: int = 30_000
    seconds: float = 4.0


FULL: Final = Size()


def measure_sms(size: Size = FULL) -> Row:
    """An SMS on SQLite."""
    with stage.folder() as folder:
        with stage.sms_process(folder / "empty") as sms:
            empty = sms.service.memory()
        place = folder / "sms"
        place.mkdir()
        fill_sms(place / "sms.sqlite3", size.secrets)
        with stage.sms_process(place) as sms:
            rest = sms.service.memory()
            load = sms_load.push_to([sms], {"sms": [sms.service]}, sms_load.Size(seconds=size.seconds))
            end = sms.service.memory()
    return _row("sms.memory", f"{size.secrets:,} secrets", (empty, rest, end), f"{load.rate:.0f} pushes/s")


def measure_cas(size: Size = FULL) -> Row:
    """A CAS."""
    with ExitStack() as stack:
        folder = stack.enter_context(stage.folder())
        house = stack.enter_context(stage.certificate_authority(folder))
        with stage.cas_process(house) as cas:
            empty = cas.service.memory()
        fill_cas(house, size.sessions)
        cas = stack.enter_context(stage.cas_process(house))
        rest = cas.service.memory()
        names = cas_load.make_sessions(cas, 4)
        loops = [cas_load.enclave(cas, names, verified=verified) for verified in (False, True)]
        load = drive(loops, {"cas": [cas.service]}, seconds=size.seconds)
        end = cas.service.memory()
    return _row("cas.memory", f"{size.sessions:,} sessions", (empty, rest, end), f"{load.rate:.0f} releases/s")


def fill_sms(database: Path, rows: int) -> None:
    """Put requester secrets of one owner into a new database, as if each had been pushed."""
    with closing(Database.open(str(database), Secret(bytes.fromhex(stage.KEY_HEX)))) as opened:
        cipher, owner = opened.cipher(secrets_table.name), Wallet.create().address

        def secret(number: int) -> dict[str, Any]:
            key = SecretKey.requester(owner, f"secret-{number}")
            value = cipher.seal(os.urandom(16).hex().encode(), *key.place(1))
            return {"kind": key.kind.value, "owner": key.owner, "name": key.name, "version": 1, "value": value}

        for start in range(0, rows, _CHUNK):
            numbers = range(start, min(rows, start + _CHUNK))
            marks = [{"mark": os.urandom(32).hex(), "at": 0} for _ in numbers]
            secrets = [secret(number) for number in numbers]
            opened.write(lambda db, new=secrets: db.execute(insert(secrets_table), new))  # type: ignore[misc]  # bound now
            opened.write(lambda db, new=marks: db.execute(insert(writes_table), new))  # type: ignore[misc]  # likewise


def fill_cas(house: House, rows: int) -> None:
    """Put sessions of one creator into the state that a CAS has left, as if each had been created."""
    state = open_state(house.world.platform(CAS), house.folder / "cas", clock=house.world.clock)
    try:
        repo, session = SessionRepo(state.ledger), parse_session(to_yaml(small_document()))
        material = make_material(session, house.world.now, None, Material())
        for start in range(0, rows, _CHUNK):
            sessions = [
                StoredSession(
                    session.model_copy(update={"name": f"bench-{number}"}), "c5" * 32, os.urandom(16), 1, material
                )
                for number in range(start, min(rows, start + _CHUNK))
            ]
            changes = [repo.storing(each) for each in sessions]
            record = canonical_json({"at": house.world.now.isoformat(), "event": "bench.fill", "outcome": "done"})
            state.ledger.write(
                record.decode(),
                lambda transaction, changes=changes: all(change(transaction) for change in changes),  # type: ignore[misc]  # bound now
            )
    finally:
        state.close()


def _row(name: str, held: str, seen: tuple[Memory, Memory, Memory], load: str) -> Row:
    empty, rest, end = seen
    value = max(each.peak for each in seen)
    note = (
        f"one process, SQLite; at rest and empty {empty}; started with {held} {rest}; after a load of {load} on them"
        f" {end}; the value is the highest peak"
    )
    return Row(name, round(value, 1), "MB", f"{AIM_MB:g} MB limit", round(AIM_MB / value, 2), note)
