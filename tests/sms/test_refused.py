"""What is refused leaves no trace but a line in the audit log, and not even that where strangers could fill the disk.

One line is due for every refusal of who may: a signature that is not by the one who must sign, a signed write that was
used before, an execution that is not authorized, a session that cannot be made. What cannot be read, what is too large,
named wrongly or there already, and what no route takes is counted by status in the metrics and nowhere else. So are
refusals beyond five a second on average; the next line says how many.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from tests.conftest import Chain
from tests.sms.process import ADMIN_KEY, SmsProcess, sms_process
from tests.sms.support import APP, DATASET, REQUESTER, TASK_ID, WORKER, authorization

from adyton.chain.wallet import Wallet
from adyton.sms.access import recipes

CANARY: Final = "canary-5e1f00d2"
ME: Final = REQUESTER.address
AUDIT_TABLES: Final = {"audit", "audit_head"}
TOO_LONG: Final = CANARY * 400
OLD, NEW = "an-old-value", "a-new-value"


@dataclass(frozen=True)
class Refused:
    """A request that must be refused: how it is answered, and whether the audit log has a line about it."""

    method: str
    path: str
    status: int
    audited: bool = False
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


def web2(
    status: int,
    value: str = CANARY,
    *,
    name: str = "n",
    method: str = "POST",
    audited: bool = False,
    **given: Any,  # noqa: ANN401  # signature, body
) -> Refused:
    signature = given.pop("signature", recipes.sign(recipes.web2_challenge(ME, name, value), REQUESTER))
    headers = {} if signature is None else {"Authorization": signature}
    query = {"ownerAddress": ME, "secretName": name}
    return Refused(method, "/secrets/web2", status, audited, query, headers, given.pop("body", value.encode()))


def requester(
    status: int, value: str = CANARY, *, key: str = "k", audited: bool = False, signer: Wallet = REQUESTER
) -> Refused:
    signature = recipes.sign(recipes.requester_challenge(ME, key, value), signer)
    path = f"/requesters/{ME}/secrets/{key}"
    return Refused("POST", path, status, audited, {}, {"Authorization": signature}, value.encode())


def session(status: int, *, audited: bool, signer: Wallet = WORKER) -> Refused:
    body = authorization("0x" + "ee" * 20).model_dump(by_alias=True)
    challenge = recipes.authorization_challenge(WORKER.address, TASK_ID, "0x" + "ee" * 20)
    headers = {"Authorization": recipes.sign(challenge, signer)}
    return Refused("POST", "/tee/sessions", status, audited, {}, headers, json.dumps(body).encode())


BY_ANOTHER: Final = recipes.sign(recipes.web2_challenge(ME, "n", CANARY), WORKER)
HIGH_S: Final = "0x" + "11" * 32 + "ff" * 32 + "1b"
KEY: Final = {"X-API-KEY": ADMIN_KEY}
ETC: Final = b"/etc".hex()
CASES: Final[dict[str, Refused]] = {
    "signed by another": web2(401, signature=BY_ANOTHER, audited=True),
    "no hex": web2(401, signature=CANARY, audited=True),
    "a high s": web2(401, signature=HIGH_S, audited=True),
    "an empty signature": web2(401, signature="", audited=True),
    "a longer signature than any": web2(401, signature="0x" + "00" * 5000, audited=True),
    "of another name": web2(
        401, signature=recipes.sign(recipes.web2_challenge(ME, "m", CANARY), REQUESTER), audited=True
    ),
    "no signature": web2(400, signature=None),
    "no body": web2(400, body=b""),
    "no text": web2(400, body=b"\xff" + CANARY.encode()),
    "too large": web2(413, TOO_LONG),
    "far too large": web2(413, body=TOO_LONG.encode() * 200),
    "a name that is too long": web2(400, name="n" * 256),
    "a name with NUL": web2(400, name="n\0"),
    "no address": Refused(
        "POST", "/secrets/web2", 401, True, {"ownerAddress": "0xzz", "secretName": "n"},
        {"Authorization": BY_ANOTHER}, CANARY.encode(),
    ),
    "there already": web2(409, CANARY, name="kept"),
    "not there": web2(404, CANARY, name="none", method="PUT"),
    "a replay of an old value": web2(401, OLD, name="turned", method="PUT", audited=True),
    "no dataset": Refused("POST", "/secrets/web3", 401, True, {"secretAddress": DATASET},
                          {"Authorization": recipes.sign(recipes.web3_challenge(DATASET, CANARY), REQUESTER)},
                          CANARY.encode()),
    "no app": Refused("POST", f"/apps/{APP}/secrets", 401, True, {},
                      {"Authorization": recipes.sign(recipes.app_challenge(APP, CANARY), REQUESTER)}, CANARY.encode()),
    "requester: signed by another": requester(401, signer=WORKER, audited=True),
    "requester: malformed key": requester(400, key="k:l"),
    "requester: too large": requester(400, TOO_LONG),
    "requester: there already": requester(409, key="kept"),
    "challenge: no such task": Refused(
        "POST", f"/tee/challenges/{TASK_ID}", 401, True, {},
        {"Authorization": recipes.sign(recipes.authorization_challenge("", TASK_ID, ""), WORKER)},
    ),
    "challenge: malformed": Refused("POST", "/tee/challenges/0x12", 401, True, {}, {"Authorization": BY_ANOTHER}),
    "session: no such task": session(401, audited=True),
    "session: signed by another": session(401, audited=True, signer=REQUESTER),
    "session: no member": Refused(
        "POST", "/tee/sessions", 400, False, {}, {"Authorization": BY_ANOTHER}, json.dumps({"x": CANARY}).encode()
    ),
    "session: no JSON": Refused(
        "POST", "/tee/sessions", 400, False, {}, {"Authorization": BY_ANOTHER}, CANARY.encode()
    ),
    "read: absent": Refused("HEAD", "/secrets/web2", 404, False, {"ownerAddress": ME, "secretName": CANARY}),
    "read: malformed key": Refused("HEAD", f"/requesters/{ME}/secrets/{CANARY}!", 400),
    "read: of a value": Refused("GET", "/secrets/web2", 405, False, {"ownerAddress": ME, "secretName": "n"}),
    "no such route": Refused("POST", "/untee/secrets", 404, False, {}, {}, CANARY.encode()),
    "properties: no framework": Refused("GET", f"/tee/properties/{CANARY}", 400),
    "properties: no version": Refused("GET", "/tee/properties/scone/v9", 404),
    "properties: another framework": Refused("GET", "/tee/properties/tdx", 409),
    "admin: no key": Refused("POST", "/admin/backup", 401, False, {}, {}, CANARY.encode()),
    "admin: another key": Refused("POST", "/admin/backup", 401, False, {}, {"X-API-KEY": CANARY}),
    "admin: blank": Refused("POST", f"/admin/{ETC}/restore-backup", 400, False, {"fileName": " "}, KEY),
    "admin: outside": Refused("POST", f"/admin/{ETC}/restore-backup", 400, False, {"fileName": CANARY}, KEY),
    "admin: outside, delete": Refused("DELETE", f"/admin/{ETC}/delete-backup", 400, False, {"fileName": "f"}, KEY),
}  # fmt: skip


@pytest.fixture(scope="module")
def program(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmsProcess]:
    """A service that stores what some refusals need to be refused."""
    with sms_process(tmp_path_factory.mktemp("refused"), chain) as running:
        for given in (
            web2(204, "stored", name="kept"),
            web2(204, OLD, name="turned"),
            web2(204, NEW, name="turned", method="PUT"),
            requester(204, "stored, too", key="kept"),
        ):
            assert send(running, given) == 204
        yield running


def send(program: SmsProcess, given: Refused) -> int:
    """Ask; gives the status. No refusal repeats what was sent as a value or a key."""
    answer = program.http.request(
        given.method, given.path, params=given.query, headers=given.headers, content=given.body
    )
    assert CANARY not in answer.text.replace(given.path, "")
    return answer.status_code


@dataclass(frozen=True)
class Traces:
    """What a service has on disk: its tables but for the audit log's, its files, and the lines of that log."""

    tables: dict[str, list[tuple[Any, ...]]]
    files: set[str]
    lines: list[str]


def traces(program: SmsProcess) -> Traces:
    with closing(sqlite3.connect(f"file:{program.database}?mode=ro", uri=True)) as db:
        names = [row[0] for row in db.execute("select name from sqlite_master where type = 'table'")]
        tables = {
            name: db.execute(f"select * from {name} order by 1").fetchall()  # noqa: S608  # its own tables' names
            for name in names
            if name not in AUDIT_TABLES
        }
        lines = [row[0] for row in db.execute("select record from audit order by seq")]
    files = {str(path.relative_to(program.folder)) for path in program.folder.rglob("*") if path.is_file()}
    return Traces(tables, {name for name in files if not name.startswith("sms.sqlite3-")}, lines)


def everything(program: SmsProcess) -> bytes:
    """Every byte of every file of the service: database, journals, log, backups."""
    return b"".join(path.read_bytes() for path in sorted(program.folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_refusal_leaves_a_line_or_nothing(program: SmsProcess, case: Refused) -> None:
    if case.audited:
        time.sleep(0.21)  # five lines a second are written
    before = traces(program)
    assert send(program, case) == case.status
    after = traces(program)
    assert after.tables == before.tables
    assert after.files == before.files
    added = after.lines[len(before.lines) :]
    assert after.lines[: len(before.lines)] == before.lines
    assert len(added) == int(case.audited)
    if added:
        record = json.loads(added[0])
        assert record["event"] in {"secret.refused", "challenge.refused", "session.refused"}
        assert record["fields"]["code"]
        assert "suppressed_refusals" not in record["fields"]


def test_no_byte_of_what_was_refused_is_anywhere(program: SmsProcess) -> None:
    """As it is, as hex, and in base64: in the database and its journal, in the log, in the metrics."""
    for case in CASES.values():
        if CANARY not in case.path and CANARY not in case.query.values():  # what names a thing may be named
            send(program, case)
    found = everything(program) + program.http.get("/actuator/prometheus").content
    canary = CANARY.encode()
    for form in (canary, canary.hex().encode(), base64.b64encode(canary)[:-4]):
        assert form not in found
    assert ADMIN_KEY.encode() not in found.replace(Path(program.folder / "admin-key").read_bytes(), b"", 1)
    assert "Traceback" not in program.log


def test_refusals_cannot_fill_the_disk(program: SmsProcess) -> None:
    """As fast as they come, lines are written at the rate of the log; the rest is counted in the next."""
    flood = CASES["signed by another"]
    before, begun, sent = len(traces(program).lines), time.monotonic(), 150
    for _ in range(sent):
        assert send(program, flood) == 401
    elapsed = time.monotonic() - begun
    added = len(traces(program).lines) - before
    assert added <= 20 + 5 * elapsed + 1
    time.sleep(0.3)
    send(program, flood)
    record = json.loads(traces(program).lines[-1])
    counted = sum(
        int(json.loads(line)["fields"].get("suppressed_refusals", 0)) for line in traces(program).lines[before:]
    )
    assert counted + len(traces(program).lines) - before == sent + 1
    assert record["event"] == "secret.refused"


def test_names_cannot_be_enumerated_quickly(chain: Chain, tmp_path: Path) -> None:
    """Existence is public by protocol; who asks for many names gets answers at the rate of one client, of all kinds."""
    with sms_process(tmp_path, chain, requests_per_s=2) as program:
        paths = (
            "/secrets/web3?secretAddress=0x{:040x}",
            f"/secrets/web2?ownerAddress={ME}&secretName={{}}",
            "/apps/0x{:040x}/secrets",
            f"/requesters/{ME}/secrets/n{{}}",
        )
        begun = time.monotonic()
        answers = [program.http.head(paths[number % 4].format(number)) for number in range(40)]
        answered = [answer.status_code for answer in answers].count(404)
        assert answered <= 8 + 2 * (time.monotonic() - begun) + 1
        assert {answer.status_code for answer in answers} == {404, 429}
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)
