"""``adyton audit`` on the log of a real CAS state and of a log in the SMS's form, and against a real chain."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from tests.platform.world import World

from adyton.base.db import open_engine
from adyton.base.log import short_hash
from adyton.base.secret import Secret
from adyton.cas.store.audit import AuditEvent
from adyton.cas.store.state import open_state
from adyton.chain import keystore
from adyton.chain.rpc import Rpc
from adyton.chain.wallet import Wallet
from adyton.cli.adyton.main import main
from adyton.sdk.wallets import plain_document
from adyton.sms.store.tables import audit_chain, metadata

CAS = b"\xca" * 32


class Chain(Protocol):
    url: str
    rpc: Rpc

    def funded_wallet(self) -> Wallet: ...


@dataclass(frozen=True, slots=True)
class Ran:
    status: int
    out: str
    err: str


@pytest.fixture
def adyton(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*words: object) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ran(int(str(ended.value.code or 0)), captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def world() -> World:
    return World()


EVENTS = (
    AuditEvent("start", "done", mrenclave=CAS.hex()),
    AuditEvent("session.create", "done", session=short_hash("mine"), session_hash="ab" * 32, client="cd" * 32),
    AuditEvent("release", "refused", code="cas.release.measurement", session=short_hash("mine"), detail="a\x1b[31m"),
    AuditEvent("release", "released", session=short_hash("other"), session_hash="ef" * 32, tier="intel"),
)


@pytest.fixture
def cas_log(world: World, tmp_path: Path) -> Path:
    """The database of a CAS with four entries."""
    state = open_state(world.platform(CAS), tmp_path / "state" / "cas", clock=world.clock)
    for event in EVENTS:
        state.audit.append(event)
    state.close()
    return tmp_path / "state" / "cas" / "cas.db"


def alter(path: Path, statement: str) -> None:
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()


def entries(path: Path) -> list[tuple[int, str]]:
    db = sqlite3.connect(path)
    found = list(db.execute("select seq, hash from audit order by seq"))
    db.close()
    return found


def test_a_whole_log(adyton: Callable[..., Ran], cas_log: Path) -> None:
    seq, digest = entries(cas_log)[-1]
    before = cas_log.read_bytes()
    for words in (("verify", cas_log), ("verify", "--state", cas_log.parent.parent)):
        ran = adyton("audit", *words)
        assert ran.status == 0, ran
        assert f"head {seq}:{digest}" in ran.out
        assert f"{cas_log}: whole, log of cas, 4 entries\n" in ran.out
    assert cas_log.read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "line", "reason"),
    [
        ("update audit set record = replace(record, 'release', 'releasd') where seq = 3", 3, "not the one"),
        ("update audit set hash = '00' || substr(hash, 3) where seq = 2", 2, "not the one"),
        ("delete from audit where seq = 2", 2, "entry 2 is missing: this is 3"),
        ("delete from audit where seq = 1", 1, "entry 1 is missing"),
        ("update audit set record = 7 where seq = 4", 4, "not the one"),
        ("update audit set record = x'00' where seq = 4", 4, "another type"),
        ("update audit set hash = 'zz' where seq = 4", 4, "another type"),
        ("update audit set record = '{}' where seq = 1", 1, "not the one"),
    ],
)
def test_the_first_bad_line_is_named(
    adyton: Callable[..., Ran], cas_log: Path, statement: str, line: int, reason: str
) -> None:
    alter(cas_log, statement)
    ran = adyton("audit", "verify", cas_log)
    assert ran.status == 1
    assert f"line {line}: " in ran.out
    assert reason in ran.out
    assert f"BROKEN, log of {'cas' if line > 1 else 'no known service'}, {line - 1} good entr" in ran.out
    assert "put the newest whole copy of it back" in ran.out
    document = json.loads(adyton("audit", "verify", cas_log, "--json").out)
    assert (document["verdict"], document["whole"], document["firstBadLine"]) == ("broken", False, line)
    shown = adyton("audit", "show", cas_log)
    assert (shown.status, len(shown.out.splitlines())) == (1, line - 1)
    assert "nothing from there on is shown" in shown.err


def test_a_log_of_the_sms_is_known_by_its_domain(adyton: Callable[..., Ran], tmp_path: Path) -> None:
    path = tmp_path / "sms" / "sms.sqlite3"
    path.parent.mkdir()
    engine = open_engine(path)
    metadata.create_all(engine)

    class Plain:
        def seal(self, _row: str, _version: int, body: bytes) -> bytes:
            return body

        def open(self, _row: str, _version: int, blob: bytes) -> bytes:
            return blob

    with engine.begin() as db:
        record = '{"at":"2026-11-22T12:00:00+00:00","event":"secret.pushed","fields":{"owner":"0x1"}}'
        audit_chain.append(db, Plain(), None, record)
    engine.dispose()
    assert "whole, log of sms, 1 entry\n" in adyton("audit", "verify", "--state", tmp_path).out
    assert "secret.pushed  owner=0x1" in adyton("audit", "show", "--state", tmp_path).out


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ((), [1, 2, 3, 4]),
        (("--code", "cas.release"), [3]),
        (("--event", "release"), [3, 4]),
        (("--session", "mine"), [2, 3]),
        (("--session", short_hash("other")), [4]),
        (("--session", "abab"), [2]),
        (("--since", "2999-01-01"), []),
        (("--until", "2999-01-01", "--event", "start"), [1]),
    ],
)
def test_show_filters(adyton: Callable[..., Ran], cas_log: Path, words: tuple[str, ...], numbers: list[int]) -> None:
    ran = adyton("audit", "show", cas_log, *words)
    assert ran.status == 0
    assert [int(line.split()[0]) for line in ran.out.splitlines()] == numbers
    as_json = adyton("audit", "show", cas_log, "--json", *words).out.splitlines()
    assert [json.loads(line)["seq"] for line in as_json] == numbers
    assert "\x1b" not in ran.out  # what a peer caused is not printed raw


@pytest.mark.parametrize("content", [None, b"", b"not a database" * 100])
def test_what_is_no_log(adyton: Callable[..., Ran], tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.db"
    if content is not None:
        path.write_bytes(content)
    ran = adyton("audit", "verify", path)
    assert ran.status == 1
    assert ("does not exist" if content is None else "holds no audit log") in ran.err
    assert adyton("audit", "verify", "--state", tmp_path).status == 1


def test_a_time_that_is_none(adyton: Callable[..., Ran], cas_log: Path) -> None:
    assert "'yesterday' is no time" in adyton("audit", "show", cas_log, "--since", "yesterday").err


@pytest.fixture
def publisher(chain: Chain, tmp_path: Path) -> tuple[Wallet, Path]:
    wallet = chain.funded_wallet()
    file = tmp_path / "wallet.json"
    file.write_text(json.dumps(plain_document(wallet)))
    return wallet, file


def test_published_and_compared(
    adyton: Callable[..., Ran], cas_log: Path, chain: Chain, publisher: tuple[Wallet, Path], world: World
) -> None:
    wallet, file = publisher
    ran = adyton("audit", "publish", cas_log, "--wallet", file, "--rpc", chain.url)
    assert ran.status == 0, ran.err
    head, transaction = ran.out.split()
    assert head == "{}:{}".format(*entries(cas_log)[-1])
    compare = ("audit", "verify", cas_log, "--rpc", chain.url)
    shutil.copytree(cas_log.parent, cas_log.parent.parent / "old")
    state = open_state(world.platform(CAS), cas_log.parent, clock=world.clock)
    state.audit.append(EVENTS[2])  # the log goes on: what was published stays true
    state.close()
    for words in (("--from-chain",), ("--transaction", transaction, "--publisher", wallet.address)):
        ran = adyton(*compare, *words)
        assert ran.status == 0, ran
        assert f"published {head} in block" in ran.out
        assert f" by {wallet.address}\n" in ran.out
    ran = adyton(*compare, "--from-chain", "--publisher", "0x" + "11" * 20)
    assert ran.status == 1
    assert "was published by" in ran.out
    alter(cas_log, "delete from audit where seq > 3")
    ran = adyton(*compare, "--from-chain")
    assert (ran.status, "chain ends with entry 3, but entry 4 was published" in ran.out) == (1, True)
    assert "NOT AS PUBLISHED, log of cas, 3 entries" in ran.out
    assert "keep the folder as evidence" in ran.out
    assert adyton("audit", "verify", cas_log).status == 0  # alone it is a whole chain
    alter(cas_log, "delete from audit")
    ran = adyton(*compare, "--from-chain")
    assert (ran.status, "the log is empty, but entry 4 of one was published" in ran.out) == (1, True)


def test_a_rewritten_log_is_not_the_published_one(
    adyton: Callable[..., Ran], cas_log: Path, chain: Chain, publisher: tuple[Wallet, Path]
) -> None:
    """A whole chain again, made by somebody who can write the file: only the published head shows it."""
    from adyton.cas.store.tables import AUDIT_CHAIN  # noqa: PLC0415

    transaction = adyton("audit", "publish", cas_log, "--wallet", publisher[1], "--rpc", chain.url).out.split()[1]
    db = sqlite3.connect(cas_log)
    previous = entries(cas_log)[0][1]
    for seq in (2, 3, 4):
        previous = AUDIT_CHAIN.link(previous, "{}")
        db.execute("update audit set record = '{}', hash = ? where seq = ?", (previous, seq))
    db.commit()
    db.close()
    assert adyton("audit", "verify", cas_log).status == 0
    ran = adyton("audit", "verify", cas_log, "--rpc", chain.url, "--transaction", transaction)
    assert ran.status == 1
    assert "line 4: it is not the entry that was published" in ran.out


def test_another_log_and_another_transaction(
    adyton: Callable[..., Ran],
    cas_log: Path,
    chain: Chain,
    publisher: tuple[Wallet, Path],
    world: World,
) -> None:
    tmp_path = cas_log.parent.parent
    transaction = adyton("audit", "publish", cas_log, "--wallet", publisher[1], "--rpc", chain.url).out.split()[1]
    other = open_state(world.platform(CAS), tmp_path / "other", clock=world.clock)
    other.audit.append(EVENTS[1])
    other.close()
    words = ("audit", "verify", tmp_path / "other" / "cas.db", "--rpc", chain.url)
    ran = adyton(*words, "--transaction", transaction)
    assert (ran.status, "is of another log" in ran.out) == (1, True)
    ran = adyton(*words, "--transaction", "0x" + "00" * 32)
    assert (ran.status, "has no transaction" in ran.err, "name a node" in ran.err) == (1, True, True)
    assert "whole, log of cas, 1 entry" in ran.out  # what needs no chain is said all the same
    ran = adyton(*words, "--from-chain")
    assert (ran.status, "no head of this log is noted" in ran.out, "NOT COMPARED" in ran.out) == (1, True, True)
    # the notes of another log, put beside this one, do not pass for its own
    shutil.copy(cas_log.parent / "published-heads.json", tmp_path / "other")
    ran = adyton(*words, "--from-chain")
    assert (ran.status, "is of another log" in ran.out, "NOT AS PUBLISHED" in ran.out) == (1, True, True)


def test_a_node_that_does_not_answer(adyton: Callable[..., Ran], cas_log: Path) -> None:
    words = ("audit", "verify", cas_log, "--rpc", "http://127.0.0.1:1")
    ran = adyton(*words, "--transaction", "0x" + "00" * 32)
    assert (ran.status, "whole, log of cas" in ran.out) == (1, True)
    assert "127.0.0.1:1" in ran.err
    notes = [{"log": entries(cas_log)[0][1], "transaction": "0x" + "00" * 32}]
    (cas_log.parent / "published-heads.json").write_text(json.dumps(notes))
    ran = adyton(*words, "--from-chain")
    assert (ran.status, "NOT COMPARED" in ran.out) == (1, True)
    (cas_log.parent / "published-heads.json").write_text("{}")
    assert "published-heads.json is damaged" in adyton(*words, "--from-chain").err


@pytest.fixture
def both_logs(cas_log: Path) -> Path:
    """A state folder with a log of a CAS and one of an SMS that has no entry."""
    path = cas_log.parent.parent / "sms" / "sms.sqlite3"
    path.parent.mkdir()
    engine = open_engine(path)
    metadata.create_all(engine)
    engine.dispose()
    return cas_log.parent.parent


def test_a_log_without_entries_is_empty_and_not_nobodys(adyton: Callable[..., Ran], both_logs: Path) -> None:
    path = both_logs / "sms" / "sms.sqlite3"
    ran = adyton("audit", "verify", path)
    assert (ran.status, ran.out) == (0, f"{path}: empty, nothing was recorded yet\n")
    document = json.loads(adyton("audit", "verify", path, "--json").out)
    assert (document["verdict"], document["whole"], document["head"], document["service"]) == (
        "empty",
        True,
        None,
        None,
    )
    assert "nothing was recorded yet" in adyton("audit", "show", path).err
    ran = adyton("audit", "show", "--state", both_logs, "--event", "start")
    assert ran.status == 0
    assert ran.err.splitlines() == [f"{both_logs}/cas/cas.db:", f"{path}:", f"{path}: nothing was recorded yet"]
    assert "no entry matches" in adyton("audit", "show", both_logs / "cas" / "cas.db", "--event", "x").err


def test_several_logs_are_published_and_compared_together(
    adyton: Callable[..., Ran], both_logs: Path, chain: Chain, publisher: tuple[Wallet, Path]
) -> None:
    network = ("--state", both_logs, "--rpc", chain.url)
    ran = adyton("audit", "publish", *network, "--wallet", publisher[1])
    assert ran.status == 0, ran
    assert len(ran.out.splitlines()) == 1
    assert f"{both_logs}/sms/sms.sqlite3: nothing was recorded yet" in ran.err
    assert f"{both_logs}/cas/cas.db: entry 4 published by {publisher[0].address}" in ran.err
    transaction = ran.out.split()[1]
    ran = adyton("audit", "verify", *network, "--transaction", transaction)  # it is of one of them
    assert (ran.status, "published 4:" in ran.out) == (0, True), ran
    assert adyton("audit", "verify", *network, "--from-chain").status == 0
    alter(both_logs / "cas" / "cas.db", "delete from audit where seq = 1")
    ran = adyton("audit", "verify", *network, "--transaction", transaction)
    assert (ran.status, "is of none of these logs" in ran.err) == (1, True)
    ran = adyton("audit", "publish", both_logs / "sms" / "sms.sqlite3", *network, "--wallet", publisher[1])
    assert (ran.status, "no log has an entry" in ran.err) == (1, True)


def test_a_damaged_file_is_told_from_another_one(adyton: Callable[..., Ran], cas_log: Path) -> None:
    db = sqlite3.connect(cas_log)
    db.execute("pragma journal_mode=delete")
    db.close()
    whole = cas_log.read_bytes()
    cas_log.write_bytes(whole[: len(whole) // 2])
    ran = adyton("audit", "verify", cas_log)
    assert (ran.status, "is damaged" in ran.err, "newest whole copy" in ran.err) == (1, True, True), ran


def test_a_keystore_and_its_password_file(
    adyton: Callable[..., Ran], cas_log: Path, chain: Chain, tmp_path: Path
) -> None:
    wallet = chain.funded_wallet()
    file, secret = tmp_path / "keystore.json", tmp_path / "password"
    file.write_text(json.dumps(keystore.encrypt(wallet, Secret("a password"))))
    secret.touch(0o600)
    secret.write_text("a password\n")
    words = ("audit", "publish", cas_log, "--wallet", file, "--rpc", chain.url)
    assert adyton(*words, "--passphrase-file", secret).status == 0
    if not os.isatty(0):
        assert "nobody is there to type" in adyton(*words).err


def test_a_wallet_that_is_not_there(adyton: Callable[..., Ran], cas_log: Path, chain: Chain, tmp_path: Path) -> None:
    ran = adyton("audit", "publish", cas_log, "--wallet", tmp_path / "none.json", "--rpc", chain.url)
    assert (ran.status, "none.json does not exist" in ran.err, "--wallet" in ran.err) == (1, True, True)


def test_a_broken_log_is_not_published(
    adyton: Callable[..., Ran], cas_log: Path, chain: Chain, publisher: tuple[Wallet, Path]
) -> None:
    alter(cas_log, "delete from audit where seq = 2")
    ran = adyton("audit", "publish", cas_log, "--wallet", publisher[1], "--rpc", chain.url)
    assert (ran.status, "only a whole log is published" in ran.err) == (1, True)
