"""Several schedulers on one PostgreSQL database, and one alone on the embedded one: nothing is done twice."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy import text
from tests.ports import free_port
from tests.sms.postgres import PostgresServer
from tests.waiting import until
from tests.workerpool.arena import Arena, finish, players

from adyton.base.db import open_engine
from adyton.base.secret import Secret
from adyton.base.types import Bytes32
from adyton.chain.events import TOPICS
from adyton.chain.hashing import task_id
from adyton.chain.models import TaskStatus
from adyton.chain.wallet import Wallet
from adyton.workerpool.replicate import ReplicateStatus as R
from adyton.workerpool.scheduler.bell import Bell
from adyton.workerpool.scheduler.client import WorkerSession
from adyton.workerpool.scheduler.leases import ProcessLeases, SecondSchedulerError, TableLeases
from adyton.workerpool.scheduler.relay import Relay
from adyton.workerpool.scheduler.service import Scheduler
from adyton.workerpool.scheduler.sharedchallenges import SharedChallenges
from adyton.workerpool.scheduler.tokens import TokenError, TokenIssuer

NOW = datetime(2026, 11, 22, tzinfo=UTC)


# -- leases, on both engines ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def replica(url: str, name: str, lease_s: float = 30) -> Iterator[TableLeases]:
    engine = open_engine(url)
    leases = TableLeases(engine, name, lease_s)
    try:
        yield leases
    finally:
        leases.close()
        engine.dispose()


def test_only_one_holds_a_name(database_url: str) -> None:
    with replica(database_url, "a") as a, replica(database_url, "b") as b:
        with (
            a.hold("task/1") as first,
            b.hold("task/1") as second,
            a.hold("task/1") as third,
            b.hold("task/2") as other,
        ):
            assert (first, second, third, other) == (True, False, False, True)
        with b.hold("task/1") as again:
            assert again


def test_of_many_takers_one_wins_and_work_never_overlaps(database_url: str) -> None:
    inside, done, overlaps = threading.Semaphore(1), Counter[int](), []
    with contextlib.ExitStack() as stack:
        replicas = [stack.enter_context(replica(database_url, f"r{number}")) for number in range(4)]

        def work(leases: TableLeases) -> None:
            for number in range(8):
                with leases.hold("one") as mine:
                    if mine:
                        overlaps.append(not inside.acquire(blocking=False))
                        done[number] += 1
                        time.sleep(0.002)
                        inside.release()

        threads = [threading.Thread(target=work, args=(leases,)) for leases in replicas]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not any(overlaps)
    assert done


def test_a_dead_replicas_leases_end_and_a_living_ones_do_not(database_url: str) -> None:
    with replica(database_url, "alive", 0.6) as alive, replica(database_url, "heir", 0.6) as heir:
        engine = open_engine(database_url)
        dead = TableLeases(engine, "dead", 0.6)
        dead._stop.set()  # as when its process was killed: it prolongs nothing
        with dead.hold("of the dead"), alive.hold("of the living"):
            with heir.hold("of the dead") as early:
                assert not early
            time.sleep(1.0)
            with heir.hold("of the dead") as late, heir.hold("of the living") as kept:
                assert (late, kept) == (True, False)
        with alive.hold("of the dead") as free:
            assert free
        engine.dispose()


def test_a_lease_that_another_is_taking_is_skipped_not_waited_for(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with replica(postgres_url, "a") as a, replica(postgres_url, "b", 0.1) as b, a.hold("x"), engine.begin() as db:
        db.execute(text("SELECT * FROM scheduler_lease WHERE name = 'x' FOR UPDATE"))
        started = time.monotonic()
        with b.hold("x") as mine:
            assert not mine
        assert time.monotonic() - started < 2, "it waited for the row"
    engine.dispose()


def test_the_embedded_database_is_for_one_process(tmp_path: Path) -> None:
    first = ProcessLeases(tmp_path)
    with first.hold("anything") as mine:
        assert mine
    with pytest.raises(SecondSchedulerError):
        ProcessLeases(tmp_path)
    first.close()
    ProcessLeases(tmp_path).close()


# -- what replicas share --------------------------------------------------------------------------------------------


def test_challenges_are_one_for_all_replicas_and_used_up_once(database_url: str) -> None:
    now = [NOW]
    engines = [open_engine(database_url), open_engine(database_url)]
    a, b = (SharedChallenges(engine, "login", timedelta(minutes=5), lambda: now[0], limit=3) for engine in engines)
    other = SharedChallenges(engines[0], "logs", timedelta(minutes=60), lambda: now[0])
    wallets = [Wallet.create().address for _ in range(5)]
    challenge = a.get(wallets[0])
    assert b.get(wallets[0]) == b.peek(wallets[0]) == challenge
    assert other.peek(wallets[0]) is None
    assert not b.burn(wallets[0], "something else")
    assert (b.burn(wallets[0], challenge), a.burn(wallets[0], challenge)) == (True, False)
    assert a.get(wallets[0]) != challenge
    now[0] += timedelta(minutes=6)
    assert a.peek(wallets[0]) is None
    for wallet in wallets:
        a.get(wallet)
        now[0] += timedelta(seconds=1)
    assert [a.peek(wallet) is not None for wallet in wallets] == [False, False, True, True, True]
    for engine in engines:
        engine.dispose()


def test_tokens_are_good_at_every_replica_of_a_key_and_at_no_other() -> None:
    wallet = Wallet.create().address
    issuer = TokenIssuer("pool", lambda: NOW, Secret(b"k" * 64))
    assert TokenIssuer("pool", lambda: NOW, Secret(b"k" * 64)).check(issuer.issue(wallet)) == wallet
    with pytest.raises(TokenError):
        TokenIssuer("pool", lambda: NOW, Secret(b"j" * 64)).check(issuer.issue(wallet))


def test_a_ring_is_heard_at_other_replicas_also_after_a_lost_connection(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    engines = [open_engine(postgres_url), open_engine(postgres_url)]
    bells = [{"work": Bell()}, {"work": Bell()}]
    relays = [Relay(engine, f"r{number}", bells[number]) for number, engine in enumerate(engines)]
    heard: list[float] = []

    def listen() -> None:
        bells[1]["work"].until(lambda: None, 10)

    for relay in relays:
        assert relay.listening.wait(10)
    for cut in (False, True):
        if cut:
            postgres_server.disconnect(urlsplit(postgres_url).path.strip("/"), stay_out=False)
            time.sleep(2)
        looks = [0]
        rung = threading.Event()

        def look(looks: list[int] = looks, rung: threading.Event = rung) -> bool | None:
            looks[0] += 1
            return True if rung.is_set() else None

        waiter = threading.Thread(target=lambda each=look: heard.append(bool(bells[1]["work"].until(each, 10))))
        waiter.start()
        until(lambda each=looks: each[0] > 0)  # type: ignore[misc]  # bound now
        rung.set()
        started = time.monotonic()
        bells[0]["work"].ring()
        waiter.join()
        assert time.monotonic() - started < 5
    assert heard == [True, True]
    for relay in relays:
        relay.close()
    for engine in engines:
        engine.dispose()


# -- whole schedulers -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def two_replicas(arena: Arena, url: str) -> Iterator[list[str]]:
    """Two schedulers of one pool; the arena speaks to the first."""
    with arena.running(database=url, port=free_port()) as _second:
        second = arena.url
        with arena.running(database=url) as _first:
            yield [arena.url, second]


def test_two_replicas_do_every_step_once(arena: Arena, postgres_url: str) -> None:
    with two_replicas(arena, postgres_url) as urls:
        deal = arena.deal(volume=6, trust=3)
        tasks = [task_id(deal, index) for index in range(6)]
        for task in tasks:
            arena.await_status(task, "INITIALIZED")
        crew = players(arena, 4)
        for number, player in enumerate(crew):  # each asks both, with one login
            player.session.close()
            player.session = _roaming(arena, player.wallet, urls[number % 2])
        taken = Counter[Bytes32]()
        results: list[Bytes32] = []

        def ask(number: int) -> None:
            while (task := crew[number].take(wait_s=0)) is not None:
                results.append(task)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(crew))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(len(crew)):
            ask(number)
        taken.update(results)
        assert taken == dict.fromkeys(tasks, 2), "two workers for each task of trust 3, never three"
        task = tasks[0]
        pair = [player for player in crew if task in player.assignments]
        for player in pair:
            player.compute(task)
            player.contribute(task)
        done = finish(arena, task, pair)
        assert done.status is TaskStatus.COMPLETED
        for url in urls:
            assert httpx2.get(f"{url}/tasks/{task}").json()["currentStatus"] == "COMPLETED"
            assert httpx2.get(f"{url}/metrics").json()["dealsCount"] == 1
        sent = arena.chain.rpc.logs(
            arena.hub.address, [TOPICS["TaskInitialize"]], arena.changes["start_block"], "latest"
        )
        assert Counter(log.topics[1] for log in sent) == dict.fromkeys(tasks, 1)
        assert _reverted(arena) == 0, "a step that is done twice reverts"
        statuses = [each["status"] for each in arena.view(task)["dateStatusList"]]
        assert len(statuses) == len(set(statuses))


def test_another_replica_finishes_what_one_began(arena: Arena, postgres_url: str) -> None:
    with arena.running(database=postgres_url, port=free_port()):
        surviving = arena.url
        with arena.running(database=postgres_url):
            task = arena.buy()
            player = arena.player()
            player.take(task)
            player.compute(task)
        # The first is gone, and what it knew is in the database.
        arena.url = surviving
        player.session.close()
        player.session = _roaming(arena, player.wallet, surviving)
        player.contribute(task)
        finish(arena, task, [player])


def test_a_login_at_one_replica_is_good_at_the_other(arena: Arena, postgres_url: str) -> None:
    with two_replicas(arena, postgres_url) as urls:
        player = arena.player()
        task = arena.buy()
        player.take(task)
        roaming = _roaming(arena, player.wallet, urls[1])
        roaming._token = player.session._token  # the balancer between them is played here
        assert roaming.computing() == [task]
        assert roaming.logins == 0
        assert player.report(task, R.STARTING)[0] == 200
        roaming.close()


def test_a_second_scheduler_on_the_embedded_database_does_not_start(arena: Arena) -> None:
    with arena.running() as first, pytest.raises(SecondSchedulerError) as refused:
        Scheduler.open(first.settings)
    assert "PostgreSQL" in (refused.value.hint or "")


def _roaming(arena: Arena, wallet: Wallet, url: str) -> WorkerSession:
    return WorkerSession(url, arena.address, wallet)


def _reverted(arena: Arena) -> int:
    """Transactions of the pool's owner that were mined and refused."""
    rpc, count = arena.chain.rpc, 0
    for number in range(arena.changes["start_block"], rpc.block_number() + 1):
        for transaction in rpc.call("eth_getBlockByNumber", hex(number), True)["transactions"]:
            if transaction["from"].lower() == arena.owner.address.lower():
                receipt = rpc.receipt(transaction["hash"])
                count += receipt is not None and receipt.status != 1
    return count
