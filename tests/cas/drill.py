"""The kill drill: a real CAS process under load, killed (SIGKILL) at a random moment, again and again.

Each round starts the CAS on the state that the last kill left. Owners create and update sessions as fast as they can,
in some rounds the operator has the keys rotated meanwhile, and in some rounds the kill comes before the CAS answers.
After each kill a copy of the state is opened as the CAS opens it, and compared with what was acknowledged. Each
exchange is also one of the authority: owners attest again at the beginning of a round, and within it before the roots
that they keep are too old.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.cas.documents import small_document, to_yaml
from tests.cas.house import CAS, House, Running, real_time
from tests.cas.test_main import Everyone, settings
from tests.forks import FORKS
from tests.ports import free_port
from tests.waiting import PATIENCE_S

from adyton.base.auditchain import AuditEntry
from adyton.base.errors import AdytonError, UnavailableError
from adyton.cas.client.owners import SessionClient
from adyton.cas.face.handover import MAX_HANDOVERS
from adyton.cas.operation import rotate_keys
from adyton.cas.store.audit import read_entries, verify_chain
from adyton.cas.store.repo import SessionRepo
from adyton.cas.store.state import CasState, open_state
from adyton.platform.client import PLATFORM_FD
from adyton.platform.simulated import channel

WRITERS: Final = 3


@dataclass(slots=True)
class Known:
    """What the owner of a session knows of it.

    Attributes:
        acknowledged: version and hash that were answered last; None before the first answer.
        asked: number of versions asked for: at most one more than was answered.
    """

    acknowledged: tuple[int, str] | None = None
    asked: int = 0


@dataclass(slots=True)
class Drill:
    """One drill.

    Attributes:
        known: name to what is known.
        rotations: acknowledged exchanges of the keys.
        rounds: kills so far.
        early: of these, before the CAS answered.
    """

    house: House
    seed: int
    known: dict[str, Known] = field(default_factory=dict)
    rotations: int = 0
    rounds: int = 0
    early: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def acknowledged(self) -> int:
        """How many writes were answered."""
        return sum(known.acknowledged[0] for known in self.known.values() if known.acknowledged)

    @property
    def summary(self) -> str:
        """What was done, in one line."""
        return (
            f"{self.rounds} kills, {self.early} of them before the CAS answered; {self.acknowledged} writes and"
            f" {self.rotations} exchanges of keys were acknowledged; {len(self.problems)} problems"
        )

    def run(self, kills: int) -> None:
        """Kill the CAS that often, and check after each."""
        chance = random.Random(self.seed)  # noqa: S311  # moments to kill at, nothing secret
        clients = self._trusted_clients()
        while self.rounds < kills and not self.problems:
            self._round(chance, clients)
            self.rounds += 1
            self._check()

    def _trusted_clients(self) -> list[SessionClient]:
        with self._process() as (cas, process):
            wait_until_up(cas, process)
            clients = [cas.owner(f"owner{number}") for number in range(WRITERS)]
            process.kill()
        return clients

    def _round(self, chance: random.Random, clients: list[SessionClient]) -> None:
        with self._process() as (cas, process):
            if chance.random() < 0.2:
                time.sleep(chance.uniform(0, 0.6))
                self.early += 1
                process.kill()
                return
            wait_until_up(cas, process)
            self._attest(cas)
            stop = threading.Event()
            writers = [
                threading.Thread(target=self._write, args=(self._at(cas, number), number, stop))
                for number in range(len(clients))
            ]
            if chance.random() < 0.4:
                writers.append(threading.Thread(target=self._rotate, args=(cas, stop)))
            for writer in writers:
                writer.start()
            time.sleep(chance.uniform(0.02, 0.7))
            process.kill()
            stop.set()
            for writer in writers:
                writer.join(PATIENCE_S)

    def _at(self, cas: Running, number: int) -> SessionClient:
        folder = cas.folder / f"owner{number}"
        files = (folder / "cas-client.pem", folder / "cas-client.key", folder / "cas-ca.pem")
        return SessionClient(cas.url, *files, timeout_s=10)

    def _write(self, client: SessionClient, number: int, stop: threading.Event) -> None:
        count = 0
        with contextlib.suppress(UnavailableError):  # the kill
            while not stop.is_set():
                name = f"drill-{number}-{self.rounds}-{count}"
                self._create_and_update(client, name)
                count += 1

    def _create_and_update(self, client: SessionClient, name: str) -> None:
        known = self.known[name] = Known()
        changes: dict[str, Any] = {}
        for version in (1, 2, 3):
            known.asked = version
            info = client.create(to_yaml(small_document(name=name, version=f"0.3.{version}", **OPEN, **changes)))
            known.acknowledged = (version, info.hash)
            changes = {"predecessor": info.hash}

    def _rotate(self, cas: Running, stop: threading.Event) -> None:
        with contextlib.suppress(UnavailableError):
            for number in itertools.count(1):
                if stop.is_set():
                    return
                rotate_keys(cas.url, cas.folder / "owner0")
                self.rotations += 1
                if number % (MAX_HANDOVERS - 1) == 0:  # the first of a round may have been made and not answered
                    self._attest(cas)

    def _attest(self, cas: Running) -> None:
        for number in range(WRITERS):
            cas.owner(f"owner{number}")

    def _check(self) -> None:
        """Open a copy of what the kill left, as the CAS opens it."""
        copy = self.house.folder / "opened"
        shutil.copytree(self.house.folder / "cas", copy)
        try:
            state = open_state(self.house.world.platform(CAS), copy, clock=self.house.world.clock)
        except AdytonError as error:
            self.problems.append(f"kill {self.rounds}: it does not open: {error.code}: {error.message}")
            return
        try:
            self._compare(state)
        finally:
            state.close()
            shutil.rmtree(copy)

    def _compare(self, state: CasState) -> None:
        entries = list(read_entries(state.ledger.engine))
        verify_chain(entries)
        repo = SessionRepo(state.ledger)
        total = 0
        for name, known in self.known.items():
            stored = repo.get(name)
            total += stored.version if stored else 0
            self._expect(name, known, (stored.version, stored.hash) if stored else None)
        self._expect_entries(entries, total, repo.count())

    def _expect(self, name: str, known: Known, found: tuple[int, str] | None) -> None:
        if known.acknowledged is None:
            if found is not None and found[0] != 1:
                self.problems.append(f"{name}: version {found[0]} of a session whose first was never answered")
        elif found is None or found[0] < known.acknowledged[0]:
            self.problems.append(f"{name}: version {known.acknowledged[0]} was acknowledged, found {found}")
        elif found[0] == known.acknowledged[0] and found[1] != known.acknowledged[1]:
            self.problems.append(f"{name}: another version {found[0]} than was acknowledged")
        elif found[0] > known.asked:
            self.problems.append(f"{name}: version {found[0]} was never asked for")

    def _expect_entries(self, entries: list[AuditEntry], versions: int, rows: int) -> None:
        """Nothing is half: as many entries about writes as there are versions, as many creations as rows."""
        events = [entry.values["event"] for entry in entries]
        created, updated = events.count("session.create"), events.count("session.update")
        if (created, created + updated) != (rows, versions):
            self.problems.append(f"{created} + {updated} writes are on record, {rows} sessions, {versions} versions")
        if events.count("keys.rotate") < self.rotations:
            self.problems.append(
                f"{self.rotations} exchanges of keys acknowledged, {events.count('keys.rotate')} there"
            )

    @contextlib.contextmanager
    def _process(self) -> Iterator[tuple[Running, Any]]:
        """A CAS in a process of its own, with a platform as an enclave has it."""
        house = self.house
        house.world.now = real_time()  # a drill may take longer than clocks may differ
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        platform = house.world.platform(CAS)
        serving = threading.Thread(target=channel.serve, args=(ours, platform, {}, Everyone(), lambda: None))
        serving.start()
        cas = Running(house.world, house.folder / "cas", house.folder, free_port(), free_port())
        environment = settings(house, cas.rest_port, cas.attested_port)
        environment["ADYTON_CAS_ADMINS"] = cas.key_hash("owner0")
        process = FORKS.Process(target=_run_cas, args=(theirs, environment, house.folder / "cas.log"))
        process.start()
        theirs.close()
        try:
            yield cas, process
        finally:
            process.kill()
            process.join(PATIENCE_S)
            process.close()
            serving.join(PATIENCE_S)


OPEN: Final = {"access_policy": {"read": ["CREATOR"], "update": ["CREATOR"]}}


def _run_cas(platform: socket.socket, environment: Mapping[str, str], output: Path) -> None:
    """The CAS as ``python -m adyton.cas.main`` runs it; in the new process."""
    from adyton.cas.main import main  # noqa: PLC0415

    with output.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    for name in [name for name in os.environ if name.startswith("ADYTON_")]:
        del os.environ[name]
    os.environ.update(environment)
    os.environ[PLATFORM_FD] = str(platform.detach())
    os._exit(main([]))


def wait_until_up(cas: Running, process: Any) -> None:  # noqa: ANN401  # a process of multiprocessing
    """Wait until the REST port answers.

    Raises:
        AssertionError: the process ended, or it takes too long.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", cas.rest_port), 1).close()
            with cas.connect():
                return
        except (OSError, UnavailableError):
            log = _tail(cas.folder / "cas.log")
            assert process.is_alive(), f"the CAS did not start: {log}"
            assert time.monotonic() < deadline, f"the CAS does not answer: {log}"
            time.sleep(0.02)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:] if log.exists() else ""
