"""``sms.push`` and ``sms.session``: what one SMS process takes in a second, and two on one PostgreSQL.

Everything is on this machine and counted: SMS, node, CAS, database server and the load itself, which signs each push as
it sends it. Each row is held against the aim on two cores; the note has what the same machine does in the same minute
without a service around it: an EIP-191 recovery and a durable SQLite commit one after the other, or the node's own
answers to ``eth_call``.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.load import Load, Request, drive, http_loop
from bench.processes import BenchError, Service
from bench.row import Row
from bench.sms_stage import Place, Sms
from tests.sms.support import authorization

from adyton.base.types import Address, Bytes32
from adyton.chain.wallet import Wallet, recover_personal
from adyton.sms.access import recipes
from adyton.sms.wire import IPFS_TOKEN
from bench import sms_stage as stage

AIM_PUSHES: Final = 500.0
AIM_SESSIONS: Final = 100.0
_VALUE: Final = "bm8gc2VjcmV0LCBidXQgYXMgbG9uZyBhcyBvbmUgaXM="  # as long as a dataset's key


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done; tests do little."""

    seconds: float = 6.0
    connections: int = 16
    tasks: int = 20
    datasets: int = 1200


FULL: Final = Size()


def measure_push(size: Size = FULL) -> Row:
    """Requester secrets, which need no chain, into SQLite."""
    with stage.folder() as folder, stage.sms_process(folder / "sms") as sms:
        load = push_to([sms], {"sms": [sms.service]}, size)
        bare = _per_second(_recover_and_commit(folder / "bare.sqlite3"), size)
    told = f"requester secrets, one process, SQLite; {load}; a recovery and a durable commit one by one: {bare:.0f}/s"
    return _row("sms.push", "pushes/s", AIM_PUSHES, load, told)


def measure_push_checked(size: Size = FULL) -> Row:
    """Dataset secrets into SQLite: registry, owner and the chain's head are asked for each."""
    with stage.folder() as folder, stage.marketplace() as place:
        datasets = stage.make_datasets(place, size.datasets)
        with stage.sms_process(folder / "sms", chain=place.chain) as sms:
            owner = place.market.owner.wallet
            requests = [_datasets_of(owner, datasets[at :: size.connections]) for at in range(size.connections)]
            parties = {"sms": [sms.service], "node": [place.node]}
            load = drive([http_loop(sms.port, requests)], parties, seconds=size.seconds, warm_s=size.seconds / 6)
            calls = _per_second(_eth_call(place), size)
    told = (
        f"dataset secrets, whose owner the chain says, one process, SQLite; {load}; eth_call one by one: {calls:.0f}/s"
    )
    return _row("sms.push.checked", "pushes/s", AIM_PUSHES, load, told)


def measure_push_postgresql(size: Size = FULL) -> Row:
    """Requester secrets into one PostgreSQL by two processes."""
    with ExitStack() as stack:
        server = stack.enter_context(stage.postgresql())
        folder, url = stack.enter_context(stage.folder()), server.url(server.new_database())
        smses = [stack.enter_context(stage.sms_process(folder / name, database=url)) for name in ("one", "two")]
        parties = {"sms": [sms.service for sms in smses], "postgresql": [Service(server.process.pid)]}
        load = push_to(smses, parties, size)
    return _row("sms.push.postgresql", "pushes/s", AIM_PUSHES, load, f"requester secrets, two processes; {load}")


def measure_session(size: Size = FULL) -> Row:
    """Sessions of one process on SQLite, posted to a CAS."""
    with ExitStack() as stack:
        folder, place = stack.enter_context(stage.folder()), stack.enter_context(stage.marketplace())
        cas = stack.enter_context(stage.cas_process(stack.enter_context(stage.certificate_authority(folder))))
        sms = stack.enter_context(stage.sms_process(folder / "sms", chain=place.chain, cas=cas))
        parties = {"sms": [sms.service], "node": [place.node], "cas": [cas.service]}
        load = _open_sessions([sms], place, parties, size)
        calls = _per_second(_eth_call(place), size)
    told = f"one process, SQLite, sessions with a dataset and two secrets; {load}; eth_call one by one: {calls:.0f}/s"
    return _row("sms.session", "sessions/s", AIM_SESSIONS, load, told)


def measure_session_postgresql(size: Size = FULL) -> Row:
    """Sessions of two processes on one PostgreSQL, posted to a CAS."""
    with ExitStack() as stack:
        server = stack.enter_context(stage.postgresql())
        folder, place = stack.enter_context(stage.folder()), stack.enter_context(stage.marketplace())
        cas = stack.enter_context(stage.cas_process(stack.enter_context(stage.certificate_authority(folder))))
        url = server.url(server.new_database())
        smses = [
            stack.enter_context(stage.sms_process(folder / name, database=url, chain=place.chain, cas=cas))
            for name in ("one", "two")
        ]
        parties = {
            "sms": [sms.service for sms in smses],
            "postgresql": [Service(server.process.pid)],
            "node": [place.node],
            "cas": [cas.service],
        }
        load = _open_sessions(smses, place, parties, size)
    told = f"two processes, sessions with a dataset and two secrets; {load}"
    return _row("sms.session.postgresql", "sessions/s", AIM_SESSIONS, load, told)


def push_to(smses: Sequence[Sms], parties: dict[str, Sequence[Service]], size: Size) -> Load:
    """The load of requester secrets alone, on any number of processes."""
    loops = [
        http_loop(sms.port, [_secrets_of(Wallet.create()) for _ in range(size.connections // len(smses))])
        for sms in smses
    ]
    return drive(loops, parties, seconds=size.seconds, warm_s=size.seconds / 6)


def _open_sessions(smses: Sequence[Sms], place: Place, parties: dict[str, Sequence[Service]], size: Size) -> Load:
    tasks = stage.buy_tasks(place, size.tasks)
    _push_for_tasks(smses[0], place)
    messages = [_session_message(smses[0], place, task) for task in tasks]
    connections = size.connections // len(smses)
    loops = [
        http_loop(sms.port, [stage.turns(messages[at::connections] or messages) for at in range(connections)])
        for sms in smses
    ]
    return drive(loops, parties, seconds=size.seconds, warm_s=size.seconds / 6)


def _secrets_of(owner: Wallet) -> Request:
    """Each another secret of one requester, signed as it is sent."""

    def request(number: int) -> bytes:
        name, value = f"secret-{number}", f"{number:08d}{_VALUE}"
        signature = recipes.sign(recipes.requester_challenge(owner.address, name, value), owner)
        return stage.message("POST", f"/requesters/{owner.address}/secrets/{name}", signature, value.encode())

    return request


def _datasets_of(owner: Wallet, datasets: Sequence[Address]) -> Request:
    def request(number: int) -> bytes:
        if number >= len(datasets):
            return b""
        signature = recipes.sign(recipes.web3_challenge(datasets[number], _VALUE), owner)
        return stage.message("POST", f"/secrets/web3?secretAddress={datasets[number]}", signature, _VALUE.encode())

    return request


def _push_for_tasks(sms: Sms, place: Place) -> None:
    """The dataset's key, the app's secret, and the worker's token."""
    market, worker = place.market, place.market.worker.wallet
    query = f"ownerAddress={worker.address}&secretName={IPFS_TOKEN}"
    pushes = (
        (f"/secrets/web3?secretAddress={market.dataset}", recipes.web3_challenge(market.dataset, _VALUE), market.owner),
        (f"/apps/{market.app}/secrets", recipes.app_challenge(market.app, _VALUE), market.developer),
        (f"/secrets/web2?{query}", recipes.web2_challenge(worker.address, IPFS_TOKEN, _VALUE), market.worker),
    )
    for path, challenge, owner in pushes:
        stage.ask(sms, stage.message("POST", path, recipes.sign(challenge, owner.wallet), _VALUE.encode()))


def _session_message(sms: Sms, place: Place, task: Bytes32) -> bytes:
    """What a worker sends for a session of the task, after the scheduler has asked for its enclave challenge."""
    market = place.market
    signed = recipes.sign(recipes.authorization_challenge("", task, ""), market.pool_owner.wallet)
    challenge = stage.ask(sms, stage.message("POST", f"/tee/challenges/{task}", signed, b""))
    worker = market.worker.wallet
    given = authorization(challenge, worker=worker, pool=market.pool_owner.wallet, task_id=task)
    signature = recipes.sign(recipes.authorization_challenge(worker.address, task, challenge), worker)
    body = json.dumps(given.model_dump(by_alias=True)).encode()
    return stage.message("POST", "/tee/sessions", signature, body)


def _recover_and_commit(database: Path) -> Callable[[], object]:
    wallet, message = Wallet.create(), bytes(32)
    signature = wallet.sign_personal(message)
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE secret (value BLOB)")

    def once() -> None:
        if recover_personal(message, signature) != wallet.address:
            raise BenchError("a signature was recovered wrongly")
        connection.execute("INSERT INTO secret VALUES (?)", (message,))

    return once


def _eth_call(place: Place) -> Callable[[], object]:
    hub = place.market.hub
    return hub.count_category


def _per_second(call: Callable[[], object], size: Size) -> float:
    begun, calls = time.monotonic(), 0
    while (now := time.monotonic()) < begun + size.seconds / 6:
        call()
        calls += 1
    return calls / (now - begun)


def _row(name: str, unit: str, aim: float, load: Load, told: str) -> Row:
    note = f"{told}; all parties on this machine"
    return Row(name, round(load.rate, 1), unit, f"{aim:g} {unit} aim", round(load.rate / aim, 2), note)
