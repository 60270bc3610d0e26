"""Successors in a running CAS: approval by key holders, the first release that takes the place, and every refusal."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from tests.cas.documents import APP, small_document, to_yaml
from tests.cas.drill import Drill, wait_until_up
from tests.cas.house import CAS, House, Running

from adyton.base.errors import UnavailableError
from adyton.cas.client.enclaves import AttestationRefusedError, AttestedClient, OtherApproversError
from adyton.cas.client.operator import verify_audit
from adyton.cas.client.tls import CasRefusedError
from adyton.cas.releasing.material import SecretValue
from adyton.cas.store.audit import read_entries
from adyton.cas.store.repo import SessionRepo
from adyton.cas.store.state import open_state
from adyton.cas.store.tables import open_database
from adyton.enclave.successors import UpgradePolicy

M1, M2, M3 = (f"{number:02x}" * 32 for number in (1, 2, 3))
APPROVERS = ("ann", "bob", "cem")


def document(cas: Running, name: str, threshold: int = 2, **changes: Any) -> bytes:  # noqa: ANN401
    """A session like an SMS's: the owner is ``owner``, the approvers are others."""
    service = {"name": "sms", "image_name": "image", "mrenclaves": [M1]}
    image = {"name": "image", "injection_files": [{"path": "/run/key", "content": "$$SCONE::key:hex$$"}]}
    upgrade = {"approvers": [cas.key_hash(who) for who in APPROVERS], "threshold": threshold}
    return to_yaml(
        small_document(
            name=name,
            services=[service],
            images=[image],
            secrets=[{"name": "key", "kind": "enclave-key"}],
            upgrade=upgrade,
        )
        | changes
    )


def key(cas: Running, session: str, mrenclave: str, **options: Any) -> bytes:  # noqa: ANN401  # of World.enclave
    """The enclave-key of an enclave, as it gets it."""
    platform = cas.world.platform(bytes.fromhex(mrenclave), **options)
    return cas.enclave(platform).fetch(session, "sms").files[0].content.reveal()


def refusal(cas: Running, session: str, mrenclave: str, **options: Any) -> str:  # noqa: ANN401
    with pytest.raises(AttestationRefusedError) as caught:
        key(cas, session, mrenclave, **options)
    return caught.value.code


def approve(cas: Running, session: str, *who: str, to: str = M2, choice: str = "carry", before: str = M1) -> Any:  # noqa: ANN401
    answers = [cas.owner(name).approve(session, before, to, choice) for name in who]
    return answers[-1]


def records(cas: Running) -> list[dict[str, Any]]:
    engine = open_database(next(cas.database.glob("*.db")))
    found = [json.loads(entry.record) for entry in read_entries(engine)]
    engine.dispose()
    return found


def test_without_a_policy_another_build_gets_nothing(cas: Running) -> None:
    cas.owner().create(document(cas, "closed", upgrade=None))
    old = key(cas, "closed", M1)
    assert refusal(cas, "closed", M2) == "cas.release.refused"
    for call in (lambda: approve(cas, "closed", "owner"), lambda: cas.owner().revoke("closed")):
        with pytest.raises(CasRefusedError) as caught:
            call()
        assert (caught.value.status, caught.value.code) == (409, "cas.upgrade.none")
    assert key(cas, "closed", M1) == old


def test_carry_gives_the_successor_the_keys_and_the_place(cas: Running) -> None:
    cas.owner().create(document(cas, "carried"))
    old = key(cas, "carried", M1)
    assert refusal(cas, "carried", M2) == "cas.release.refused"  # as in a session that there is not
    assert approve(cas, "carried", "ann")["allowed"] is None
    assert refusal(cas, "carried", M2) == "cas.release.unapproved"
    assert key(cas, "carried", M1) == old
    answer = approve(cas, "carried", "bob")
    assert answer["allowed"] == {"successor": M2, "choice": "carry"}
    assert (answer["current"], len(answer["approvals"])) == (M1, 2)
    assert key(cas, "carried", M1) == old  # until the successor starts
    assert key(cas, "carried", M2) == old
    assert refusal(cas, "carried", M1) == "cas.release.retired"
    assert key(cas, "carried", M2) == old
    line = cas.owner("ann").show("carried").line
    assert line is not None
    assert (line["current"], line["approvals"], line["steps"]) == (M2, [], [{"successor": M2, "choice": "carry"}])
    approve(cas, "carried", "cem", "ann", to=M3, before=M2)
    assert key(cas, "carried", M3) == old
    assert {refusal(cas, "carried", mrenclave) for mrenclave in (M1, M2)} == {"cas.release.retired"}


def test_discard_destroys_the_keys(cas: Running) -> None:
    cas.owner().create(document(cas, "discarded"))
    old = key(cas, "discarded", M1)
    approve(cas, "discarded", "ann", "cem", choice="discard")
    new = key(cas, "discarded", M2)
    assert new != old
    assert refusal(cas, "discarded", M1) == "cas.release.retired"
    approve(cas, "discarded", "ann", "cem", to=M3, before=M2)
    assert key(cas, "discarded", M3) == new
    approve(cas, "discarded", "ann", "cem", to=APP, before=M3, choice="discard")
    assert key(cas, "discarded", APP) not in (old, new)


def _secret(house: House, name: str) -> SecretValue:
    """The secret ``key`` of a session, as a CAS that is not running has it."""
    state = open_state(house.world.platform(CAS), house.folder / "cas", clock=house.world.clock)
    stored = SessionRepo(state.ledger).get(name)
    state.close()
    assert stored is not None
    return stored.material.secrets["key"]


@pytest.mark.parametrize("choice", ["carry", "discard"])
def test_after_a_discard_the_old_seed_is_nowhere(house: House, choice: str) -> None:
    with house.open() as cas:
        cas.owner().create(document(cas, "gone"))
        exchanged(cas, "gone", M1)
        approve(cas, "gone", "ann", "bob", choice=choice)
    before = _secret(house, "gone")
    db = sqlite3.connect(house.folder / "cas" / "cas.db")
    row = db.execute("select body from sessions").fetchone()[0]
    db.close()
    with house.open() as cas:
        key(cas, "gone", M2)
        on_disk = b"".join(path.read_bytes() for path in cas.database.glob("cas.db*"))
    after = _secret(house, "gone")
    if choice == "carry":
        assert after == before
        return
    assert after.value != before.value
    assert before.rings
    assert not after.rings
    pieces = [row[start : start + 64] for start in range(0, len(row) - 64, 64)]
    assert len(pieces) > 10
    assert not [piece for piece in pieces if piece in on_disk]


def test_each_service_of_the_line_has_the_successor(cas: Running) -> None:
    services = [{"name": name, "image_name": "image", "mrenclaves": [M1]} for name in ("sms", "other")]
    cas.owner().create(document(cas, "services", services=services))
    approve(cas, "services", "ann", "bob")
    client = cas.enclave(cas.world.platform(bytes.fromhex(M2)))
    first, second = (client.fetch("services", name).files[0].content.reveal() for name in ("other", "sms"))
    assert first == second


@pytest.mark.parametrize(
    ("who", "changes", "status", "code"),
    [
        pytest.param("owner", {}, 403, "cas.upgrade.forbidden", id="the creator, who is no approver"),
        pytest.param("stranger", {}, 404, "cas.session.unknown", id="somebody who may not even read"),
        pytest.param("ann", {"session": "nosuch"}, 404, "cas.session.unknown", id="no such session"),
        pytest.param("ann", {"before": M3}, 409, "cas.upgrade.predecessor", id="another predecessor"),
        pytest.param("ann", {"to": M1}, 409, "cas.upgrade.successor", id="itself"),
        pytest.param("ann", {"to": "00"}, 400, "cas.request.invalid", id="no measurement"),
        pytest.param("ann", {"to": M2.replace("2", "A")}, 400, "cas.request.invalid", id="capital letters"),
        pytest.param("ann", {"choice": "keep"}, 400, "cas.request.invalid", id="no such choice"),
    ],
)
def test_refused_approvals_change_nothing(
    cas: Running, who: str, changes: dict[str, str], status: int, code: str
) -> None:
    name = "refusing"
    cas.owner().create(document(cas, name, threshold=1))
    before = cas.owner().show(name).line
    with pytest.raises(CasRefusedError) as caught:
        approve(cas, changes.get("session", name), who, **{k: v for k, v in changes.items() if k != "session"})
    assert (caught.value.status, caught.value.code) == (status, code)
    assert cas.owner().show(name).line == before
    assert refusal(cas, name, M2) == "cas.release.refused"


def test_refused_steps_are_on_record(house: House) -> None:
    with house.open() as cas:
        cas.owner().create(document(cas, "noted"))
        for who, before in (("owner", M1), ("stranger", M1), ("ann", M3)):
            with pytest.raises(CasRefusedError):
                approve(cas, "noted", who, before=before)
        with pytest.raises(CasRefusedError):
            cas.owner("ann").revoke("noted")
        found = [
            (entry["event"], entry["code"], entry["client"]) for entry in records(cas) if entry["outcome"] == "refused"
        ]
        assert found == [
            ("upgrade.approve", "cas.upgrade.forbidden", cas.key_hash("owner")),
            ("upgrade.approve", "cas.session.unknown", cas.key_hash("stranger")),
            ("upgrade.approve", "cas.upgrade.predecessor", cas.key_hash("ann")),
            ("upgrade.revoke", "cas.upgrade.no_approval", cas.key_hash("ann")),
        ]


def test_one_key_counts_once_and_can_change_its_mind(cas: Running) -> None:
    cas.owner().create(document(cas, "voices"))
    approve(cas, "voices", "ann", "ann", "ann")
    assert refusal(cas, "voices", M2) == "cas.release.unapproved"
    approve(cas, "voices", "bob", to=M3)
    approve(cas, "voices", "cem", choice="discard")
    assert {refusal(cas, "voices", mrenclave) for mrenclave in (M2, M3)} == {"cas.release.unapproved"}
    answer = approve(cas, "voices", "bob", choice="discard")
    assert answer["allowed"] == {"successor": M2, "choice": "discard"}
    assert len(answer["approvals"]) == 3
    assert cas.owner("bob").revoke("voices")["allowed"] is None
    assert refusal(cas, "voices", M2) == "cas.release.unapproved"
    with pytest.raises(CasRefusedError) as caught:
        cas.owner("bob").revoke("voices")
    assert (caught.value.status, caught.value.code) == (409, "cas.upgrade.no_approval")


def test_an_approval_is_for_the_measurement_in_production(cas: Running) -> None:
    cas.owner().create(document(cas, "debugged"))
    approve(cas, "debugged", "ann", "bob")
    assert refusal(cas, "debugged", M2, debug=True) == "cas.release.refused"
    line = cas.owner().show("debugged").line
    assert line is not None
    assert line["current"] == M1


def test_a_tolerated_debug_enclave_gets_another_key_than_the_one_in_production(cas: Running) -> None:
    tolerant = {"attestation": {"tolerate": ["debug-mode"]}}
    cas.owner().create(document(cas, "tolerant", upgrade=None, security=tolerant))
    assert key(cas, "tolerant", M1) != key(cas, "tolerant", M1, debug=True)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"upgrade": None}, id="removed"),
        pytest.param({"upgrade": {"approvers": ["ee" * 32], "threshold": 1}}, id="other approvers"),
        pytest.param({"threshold": 1}, id="another threshold"),
        pytest.param({"services": [{"name": "sms", "mrenclaves": [M2]}]}, id="another enclave"),
    ],
)
def test_an_update_leaves_the_policy_alone(cas: Running, change: dict[str, Any]) -> None:
    name, owner = "fixed", cas.owner()
    owner.create(document(cas, name))
    info = owner.show(name)
    with pytest.raises(CasRefusedError) as caught:
        owner.create(document(cas, name, predecessor=info.hash, **change))
    assert (caught.value.status, caught.value.code) == (409, "cas.session.upgrade")
    assert owner.show(name).hash == info.hash


def test_an_update_cannot_add_a_policy(cas: Running) -> None:
    owner = cas.owner()
    info = owner.create(document(cas, "added", upgrade=None))
    with pytest.raises(CasRefusedError) as caught:
        owner.create(document(cas, "added", predecessor=info.hash))
    assert caught.value.code == "cas.session.upgrade"


def test_an_update_of_something_else_keeps_key_place_and_voices(cas: Running) -> None:
    owner = cas.owner()
    owner.create(document(cas, "updated"))
    old = key(cas, "updated", M1)
    approve(cas, "updated", "ann", "bob")
    assert key(cas, "updated", M2) == old
    approve(cas, "updated", "ann", to=M3, before=M2)
    info = owner.show("updated")
    owner.create(document(cas, "updated", version="0.3.9", predecessor=info.hash))
    assert key(cas, "updated", M2) == old
    line = owner.show("updated").line
    assert line is not None
    assert (line["current"], [entry["successor"] for entry in line["approvals"]]) == (M2, [M3])


def test_approvers_may_read_what_they_approve_and_others_may_not(cas: Running) -> None:
    cas.owner().create(document(cas, "read"))
    found = cas.owner("ann").show("read")
    assert found.document is not None
    assert found.document["upgrade"]["threshold"] == 2
    with pytest.raises(CasRefusedError) as caught:
        cas.owner("stranger").show("read")
    assert caught.value.code == "cas.session.unknown"


def test_the_enclave_is_told_who_may_approve(cas: Running) -> None:
    cas.owner().create(document(cas, "told"))
    part = cas.enclave(cas.world.platform(bytes.fromhex(M1))).fetch("told", "sms")
    assert part.upgrade is not None
    assert part.upgrade.approvers == tuple(sorted(cas.key_hash(who) for who in APPROVERS))
    assert part.upgrade.threshold == 2


def test_an_ended_session_takes_no_approvals(house: House) -> None:
    with house.open() as cas:
        expiry = (cas.world.now + timedelta(hours=1)).isoformat()
        cas.owner().create(document(cas, "ended", expiry=expiry))
        clients = {who: cas.owner(who) for who in ("ann",)}
        cas.world.now += timedelta(hours=2)
        with pytest.raises(CasRefusedError) as caught:
            clients["ann"].approve("ended", M1, M2, "carry")
        assert caught.value.code == "cas.session.unknown"


def test_every_step_is_on_record_with_who_and_what(house: House) -> None:
    with house.open() as cas:
        cas.owner().create(document(cas, "record"))
        key(cas, "record", M1)
        refusal(cas, "record", M2)
        approve(cas, "record", "ann")
        refusal(cas, "record", M2)
        cas.owner("ann").revoke("record")
        approve(cas, "record", "bob", "ann")
        key(cas, "record", M2)
        refusal(cas, "record", M1)
        hashes = {who: cas.key_hash(who) for who in APPROVERS}
        found = [entry for entry in records(cas) if entry["event"] not in ("start", "session.create")]
    steps = [(entry["event"], entry["outcome"], entry.get("code", "")) for entry in found]
    assert steps == [
        ("release", "released", ""),
        ("release", "refused", "cas.release.measurement"),
        ("upgrade.approve", "done", ""),
        ("release", "refused", "cas.release.unapproved"),
        ("upgrade.revoke", "done", ""),
        ("upgrade.approve", "done", ""),
        ("upgrade.approve", "reached", ""),
        ("upgrade.carry", "done", ""),
        ("release", "released", ""),
        ("release", "refused", "cas.release.retired"),
    ]
    change = f"carry {M1} -> {M2}"
    assert [(found[place]["client"], found[place]["detail"]) for place in (2, 4, 5, 6)] == [
        (hashes["ann"], f"{change}: 1 of 2"),
        (hashes["ann"], f"{change}: 0 of 2"),
        (hashes["bob"], f"{change}: 1 of 2"),
        (hashes["ann"], f"{change}: 2 of 2"),
    ]
    assert [found[place]["detail"] for place in (1, 3)] == [
        f"MRENCLAVE {M2} is no approved successor: it has {count} of 2 approvals to carry, 0 of 2 approvals to discard"
        for count in (0, 1)
    ]
    assert (found[7]["mrenclave"], found[7]["detail"]) == (M2, f"{change}: 2 of 2")
    assert verify_audit(house.folder / "cas") is not None


def test_the_line_survives_restarts_and_exchanges_of_the_master_key(house: House) -> None:
    def rotate() -> None:
        state = open_state(house.world.platform(CAS), house.folder / "cas", clock=house.world.clock)
        state.rotate_keys("00" * 32)
        state.close()

    with house.open() as cas:
        cas.owner().create(document(cas, "kept"))
        old = key(cas, "kept", M1)
        approve(cas, "kept", "ann")
    rotate()
    with house.open() as cas:
        approve(cas, "kept", "bob")
    rotate()  # between approval and first release
    with house.open() as cas:
        assert key(cas, "kept", M2) == old
    rotate()
    with house.open() as cas:
        assert refusal(cas, "kept", M1) == "cas.release.retired"
        assert key(cas, "kept", M2) == old


@pytest.mark.filterwarnings(r"ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_a_kill_between_approval_and_first_start_loses_neither(house: House) -> None:
    drill = Drill(house, seed=0)
    with drill._process() as (cas, process):
        wait_until_up(cas, process)
        cas.owner().create(document(cas, "killed"))
        old = key(cas, "killed", M1)
        approve(cas, "killed", "ann", "bob")
        process.kill()
    with drill._process() as (cas, process):
        wait_until_up(cas, process)
        assert key(cas, "killed", M2) == old
        process.kill()
    with drill._process() as (cas, process):
        wait_until_up(cas, process)
        assert refusal(cas, "killed", M1) == "cas.release.retired"
        assert key(cas, "killed", M2) == old


def line_client(cas: Running, mrenclave: str) -> AttestedClient:
    """An enclave whose manifest names the approvers of :func:`document`."""
    approvers = UpgradePolicy(tuple(sorted(cas.key_hash(who) for who in APPROVERS)), 2)
    return cas.enclave(cas.world.platform(bytes.fromhex(mrenclave)), approvers=approvers)


def exchanged(cas: Running, session: str, mrenclave: str) -> bytes:
    """The enclave's key after an exchange of it."""
    client = line_client(cas, mrenclave)
    begun = client.exchange_key(session, "sms", "key", "begin")
    client.exchange_key(session, "sms", "key", "commit", begun.pending_generation)
    return key(cas, session, mrenclave)


def test_a_successor_gets_the_key_that_its_predecessor_exchanged_and_may_exchange_it_again(cas: Running) -> None:
    cas.owner().create(document(cas, "exchanged"))
    first = key(cas, "exchanged", M1)
    second = exchanged(cas, "exchanged", M1)
    approve(cas, "exchanged", "ann", "bob")
    assert key(cas, "exchanged", M2) == second
    third = exchanged(cas, "exchanged", M2)
    assert len({first, second, third}) == 3
    approve(cas, "exchanged", "ann", "bob", to=M3, before=M2, choice="discard")
    assert key(cas, "exchanged", M3) not in {first, second, third}


def test_the_exchange_of_a_key_takes_the_place_too_and_is_refused_to_others(cas: Running) -> None:
    cas.owner().create(document(cas, "first-step"))
    old = key(cas, "first-step", M1)
    client = line_client(cas, M2)
    approve(cas, "first-step", "ann")
    with pytest.raises(AttestationRefusedError) as caught:
        client.exchange_key("first-step", "sms", "key", "show")
    assert caught.value.code == "cas.release.unapproved"
    approve(cas, "first-step", "bob")
    assert client.exchange_key("first-step", "sms", "key", "show").key.reveal().hex().encode() == old
    with pytest.raises(AttestationRefusedError) as caught:
        line_client(cas, M1).exchange_key("first-step", "sms", "key", "show")
    assert caught.value.code == "cas.release.retired"


@pytest.mark.parametrize("step", ["show", "begin"])
def test_a_session_put_in_the_place_of_the_one_that_ended_gives_a_running_enclave_no_keys(
    house: House, step: str
) -> None:
    """Its owner lets the session end, and makes one of the same name whose successors they approve alone."""
    with house.open() as cas:
        owner = cas.owner()
        info = owner.create(document(cas, "swapped"))
        running = line_client(cas, M1)
        own = running.exchange_key("swapped", "sms", "key", "show").key
        soon = (house.world.now + timedelta(seconds=30)).isoformat()
        owner.create(document(cas, "swapped", predecessor=info.hash, expiry=soon))
        house.world.now += timedelta(seconds=60)
        mine = {"approvers": [cas.key_hash("owner")], "threshold": 1}
        owner.create(document(cas, "swapped", upgrade=mine))
        with pytest.raises(OtherApproversError) as caught:
            running.exchange_key("swapped", "sms", "key", step)
        assert caught.value.code == "cas.session.approvers"
        stranger = cas.enclave(cas.world.platform(bytes.fromhex(M1)))  # one that nobody may follow
        with pytest.raises(OtherApproversError):
            stranger.exchange_key("swapped", "sms", "key", "show")
        owner.approve("swapped", M1, M2, "carry")
        assert bytes.fromhex(key(cas, "swapped", M2).decode()) != own.reveal()


def test_a_row_from_before_the_step_is_not_accepted(house: House) -> None:
    """The line is in the session's row, which the state's sum of rows covers."""
    with house.open() as cas:
        cas.owner().create(document(cas, "restored"))
        approve(cas, "restored", "ann", "bob")
        db = sqlite3.connect(house.folder / "cas" / "cas.db")
        before = db.execute("select version, body from sessions").fetchone()
        key(cas, "restored", M2)
        db.execute("update sessions set version = ?, body = ?", before)
        db.commit()
        db.close()
    with pytest.raises(Exception, match="not the ones that were last written"):
        house.build()


def test_predecessor_and_successor_at_once_are_never_both_after_the_step(house: House) -> None:
    """Of the two one is first: no release of the predecessor is on record after the successor took the place."""
    with house.open() as cas:
        _race(cas)


def _race(cas: Running) -> None:
    for number in range(4):
        name = f"race-{number}"
        cas.owner().create(document(cas, name, threshold=1))
        old = key(cas, name, M1)
        approve(cas, name, "ann")

        def ask(mrenclave: str, name: str = name) -> str:
            try:
                return key(cas, name, mrenclave).hex()
            except AttestationRefusedError as error:
                return error.code
            except UnavailableError as error:
                return error.code

        with ThreadPoolExecutor(6) as hands:
            found = list(hands.map(ask, [M1, M2, M1, M2, M1, M2]))
        assert set(found) <= {old.hex(), "cas.release.retired", "cas.release.changed"}
        assert ask(M2) == old.hex()
        assert ask(M1) == "cas.release.retired"
    entries = [
        (entry["event"], entry.get("session"), entry.get("mrenclave"), entry["outcome"]) for entry in records(cas)
    ]
    moved: set[str | None] = set()
    for event, session, mrenclave, outcome in entries:
        if event.startswith("upgrade.carry"):
            assert session not in moved
            moved.add(session)
        if event == "release" and outcome == "released" and mrenclave == M1:
            assert session not in moved


def test_activations_count_on_in_the_successor(cas: Running) -> None:
    services = [{"name": "sms", "image_name": "image", "mrenclaves": [M1], "max_activations": 2}]
    cas.owner().create(document(cas, "counted", services=services))
    old = key(cas, "counted", M1)
    approve(cas, "counted", "ann", "bob")
    assert key(cas, "counted", M2) == old
    assert refusal(cas, "counted", M2) == "cas.release.activations"
