"""Enclave tasks at the scheduler, with a real secret management service: challenges, one-transaction ends, failures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Chain
from tests.sms.support import Service, running, serving
from tests.workerpool.arena import Arena, Player, finish, make_arena
from tests.workerpool.fickle import Fickle, fickle

from adyton.base.types import ZERO_ADDRESS, Bytes32, from_hex, parse_address, word_bytes
from adyton.chain import tags
from adyton.chain.hashing import contribution_message, task_id
from adyton.chain.models import TaskStatus
from adyton.chain.wallet import Wallet
from adyton.sms.store.repo import Repo
from adyton.workerpool.actions import Action
from adyton.workerpool.causes import Cause
from adyton.workerpool.replicate import ReplicateStatus as R
from adyton.workerpool.worker.links import dropbox_link

SCONE = tags.encode(["tee", "scone"])
DROPBOX = {"iexec_result_storage_provider": "dropbox"}  # the scheduler asks no proxy for these


@dataclass
class Enclaves:
    """A pool with a secret management service behind a connection that may fail."""

    arena: Arena
    sms: Service
    connection: Fickle

    def buy(self) -> Bytes32:
        return self.arena.buy(tag=SCONE, params=DROPBOX)

    def key(self, task: Bytes32) -> Wallet:
        """The enclave challenge's key, as only the enclave gets it."""
        from tests.sms.support import _SERVERS  # noqa: PLC0415  # where the running service's parts are

        found = Repo(_SERVERS[-1].app.state.services.database).challenge(task)
        assert found is not None
        return Wallet(found.private_key)

    def send_final(self, player: Player, task: Bytes32) -> None:
        """contributeAndFinalize, signed by the enclave's key."""
        authorization = player.assignments[task].workerpool_authorization
        digest = player.digest(task)
        calldata = self.arena.hub.contribute_and_finalize(
            task,
            digest,
            dropbox_link(task).encode(),
            b"",
            parse_address(authorization.enclave_challenge),
            self.key(task).sign_personal(word_bytes(contribution_message(task, player.address, digest))),
            from_hex(authorization.signature.value),
        )
        self.arena.chain.sender(player.wallet).send(self.arena.hub.address, calldata)


@pytest.fixture
def enclaves(chain: Chain, tmp_path: Path) -> Iterator[Enclaves]:
    chain.rpc.call("evm_mine")  # the service refuses a chain whose head is old
    deployment = chain.deployment
    settings: dict[str, Any] = {"node_url": chain.url, "hub": deployment.hub, "chain_id": deployment.chain_id}
    for folder in ("server", "sms", "pool"):
        (tmp_path / folder).mkdir()
    arena = make_arena(chain, tmp_path / "pool", "http://127.0.0.1:9")
    with (
        serving(tmp_path / "server"),
        running(tmp_path / "sms", real_chain=True, **settings) as sms,
        fickle(sms.url) as connection,
        arena.running(sms_scone=connection.url),
    ):
        yield Enclaves(arena, sms, connection)
    arena.close()


def take(enclaves: Enclaves, player: Player, task: Bytes32) -> None:
    player.take(task)
    assignment = player.assignments[task]
    assert assignment.sms_url == enclaves.connection.url
    assert assignment.workerpool_authorization.enclave_challenge != ZERO_ADDRESS


def test_one_transaction_ends_the_task(enclaves: Enclaves) -> None:
    arena, task = enclaves.arena, enclaves.buy()
    unable, player = arena.player(), arena.player(tee_enabled=True)
    assert unable.take(wait_s=0) is None
    take(enclaves, player, task)
    player.compute(task, last=Action.PLEASE_CONTRIBUTE_AND_FINALIZE)
    player.expect(task, R.CONTRIBUTE_AND_FINALIZE_ONGOING, Action.PLEASE_CONTINUE)
    assert player.report(task, R.CONTRIBUTE_AND_FINALIZE_DONE) == (202, Action.PLEASE_ABORT), "it is not done"
    enclaves.send_final(player, task)
    code, action = player.report(task, R.CONTRIBUTE_AND_FINALIZE_DONE, result_link=dropbox_link(task))
    assert (code, action) in {(200, Action.PLEASE_WAIT), (208, Action.PLEASE_WAIT)}
    view = arena.await_status(task, "COMPLETED")
    assert [each["status"] for each in view["dateStatusList"]][-4:] == [
        "INITIALIZED",
        "RUNNING",
        "FINALIZED",
        "COMPLETED",
    ]
    assert view["resultLink"] == dropbox_link(task)
    player.told(task, Action.PLEASE_COMPLETE)
    player.expect(task, R.COMPLETING, Action.PLEASE_CONTINUE)
    player.expect(task, R.COMPLETED, Action.PLEASE_WAIT)


def test_an_unreported_end_is_found(enclaves: Enclaves) -> None:
    arena, task = enclaves.arena, enclaves.buy()
    player = arena.player(tee_enabled=True)
    take(enclaves, player, task)
    player.compute(task, last=Action.PLEASE_CONTRIBUTE_AND_FINALIZE)
    enclaves.send_final(player, task)
    view = arena.await_status(task, "COMPLETED")
    assert view["replicates"][0]["currentStatus"] == "CONTRIBUTE_AND_FINALIZE_DONE"


def test_a_restarted_worker_gets_everything_that_a_new_start_needs(enclaves: Enclaves) -> None:
    task = enclaves.buy()
    player = enclaves.arena.player(tee_enabled=True)
    take(enclaves, player, task)
    player.report(task, R.STARTING)
    for expected, action in (
        ("STARTED", Action.PLEASE_CONTRIBUTE),
        ("COMPUTED", Action.PLEASE_CONTRIBUTE_AND_FINALIZE),
    ):
        if expected == "STARTED":
            player.report(task, R.STARTED)
        else:
            player.expect(task, R.COMPUTED, Action.PLEASE_CONTRIBUTE_AND_FINALIZE)
        (back,) = player.session.interrupted(1)
        assert back.task_notification_type is action
        extra = back.task_notification_extra
        assert extra is not None
        assert extra.sms_url == enclaves.connection.url
        assert extra.workerpool_authorization == player.assignments[task].workerpool_authorization


def test_a_service_that_refuses_or_is_away_is_asked_again(enclaves: Enclaves) -> None:
    arena = enclaves.arena
    enclaves.connection.refusals = 2  # it may see the chain a block later than the scheduler
    assert enclaves.buy()
    enclaves.connection.patience = 0
    task = task_id(arena.deal(tag=SCONE, params=DROPBOX), 0)
    arena.await_status(task, "INITIALIZING")
    enclaves.connection.patience = 10**9
    arena.await_status(task, "INITIALIZED")


def test_a_lasting_refusal_ends_the_task(enclaves: Enclaves) -> None:
    enclaves.connection.refusals = 1_000
    task = task_id(enclaves.arena.deal(tag=SCONE, params=DROPBOX), 0)
    view = enclaves.arena.await_status(task, "FAILED", 20)
    assert [each["status"] for each in view["dateStatusList"]][-3:] == ["INITIALIZING", "INITIALIZE_FAILED", "FAILED"]


def test_a_service_of_another_framework_is_refused(enclaves: Enclaves) -> None:
    arena = enclaves.arena
    task = task_id(arena.deal(tag=tags.encode(["tee", "gramine"]), params=DROPBOX), 0)
    view = arena.await_status(task, "FAILED")
    assert [each["status"] for each in view["dateStatusList"]] == ["RECEIVED", "INITIALIZE_FAILED", "FAILED"]


def test_the_task_fails_when_every_worker_that_could_run_it_has_failed(enclaves: Enclaves) -> None:
    arena, task = enclaves.arena, enclaves.buy()
    arena.player()  # alive, and not able
    one, two = arena.player(tee_enabled=True), arena.player(tee_enabled=True)
    for player in (one, two):
        assert arena.view(task)["currentStatus"] in {"INITIALIZED", "RUNNING"}
        take(enclaves, player, task)
        player.report(task, R.STARTING)
        player.report(task, R.STARTED)
        player.report(task, R.APP_DOWNLOADING)
        player.expect(task, R.APP_DOWNLOAD_FAILED, Action.PLEASE_ABORT, cause=Cause.POST_COMPUTE_FAILED_UNKNOWN_ISSUE)
    arena.await_status(task, "FAILED")
    assert [each["status"] for each in arena.view(task)["dateStatusList"]][-2:] == ["RUNNING_FAILED", "FAILED"]


def test_an_error_result_of_an_enclave_task_reaches_consensus(enclaves: Enclaves) -> None:
    """It is contributed in the long way, which the reference never ends."""
    arena, task = enclaves.arena, enclaves.buy()
    player = arena.player(tee_enabled=True)
    take(enclaves, player, task)
    player.report(task, R.STARTING)
    player.report(task, R.STARTED)
    player.report(task, R.APP_DOWNLOADING)
    player.expect(task, R.APP_DOWNLOAD_FAILED, Action.PLEASE_CONTRIBUTE, cause=Cause.APP_IMAGE_DOWNLOAD_FAILED)
    player.report(task, R.CONTRIBUTING)
    player.send_contribution(task, enclaves.key(task))
    player.report(task, R.CONTRIBUTED)

    def upload(uploader: Player) -> None:
        uploader.report(task, R.RESULT_UPLOADING)
        uploader.expect(task, R.RESULT_UPLOADED, Action.PLEASE_WAIT, result_link=dropbox_link(task))

    assert finish(arena, task, [player], upload).status is TaskStatus.COMPLETED
