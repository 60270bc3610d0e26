"""The worker's rules: what stages may tell it, how their ends are read, command lines, result links, prechecks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, Bytes32, parse_address, to_hex, word_bytes
from adyton.chain import tags
from adyton.chain.hashing import contribution_message, result_hash, result_seal
from adyton.chain.models import Account, AppInfo, Contribution, ContributionStatus, Deal, Party, Task, TaskStatus
from adyton.chain.params import parse
from adyton.chain.wallet import Wallet
from adyton.compute.client import ComputedFile
from adyton.compute.wire import ExitCause, Stage, stage_message
from adyton.content.image import ImageConfig
from adyton.runner.profile import ExitStatus
from adyton.workerpool.causes import Cause
from adyton.workerpool.description import DealDescription, TaskDescription
from adyton.workerpool.scheduler.watch import rejection
from adyton.workerpool.wire import SignatureValue, WorkerpoolAuthorization
from adyton.workerpool.worker.board import StageBoard, Verdict
from adyton.workerpool.worker.enclaves import EnclaveConfig, agent_refusal, stage_failure
from adyton.workerpool.worker.errors import StepError
from adyton.workerpool.worker.folders import TaskFolders
from adyton.workerpool.worker.links import callback_link, dropbox_link, ipfs_link
from adyton.workerpool.worker.prechecks import can_reveal, contribution_problem, finalization_problem
from adyton.workerpool.worker.standard import application_environment, command_line

TASK, DEAL, DIGEST = (Bytes32("0x" + pair * 32) for pair in ("11", "22", "33"))
WORKER, CHALLENGE = Wallet.create(), Wallet.create()
NOW = datetime(2026, 11, 22, tzinfo=UTC)
SCONE, BARE_TEE = tags.encode(["tee", "scone"]), tags.encode(["tee"])


def description(*, trust: int = 1, tag: Bytes32 = ZERO_BYTES32, params: str = "", stake: int = 0) -> DealDescription:
    none = Party(ZERO_ADDRESS, ZERO_ADDRESS, 0)
    app = Party(WORKER.address, WORKER.address, 0)
    who = WORKER.address
    deal = Deal(
        app, none, app, trust, 0, tag, who, who, ZERO_ADDRESS, params, int(NOW.timestamp()), 0, 2, stake, 1, who
    )
    info = AppInfo(who, "a", "DOCKER", b"image", ZERO_BYTES32, b"", who)
    return DealDescription(DEAL, deal, info, None, timedelta(seconds=300), parse(params))


def chain_task(status: TaskStatus = TaskStatus.ACTIVE) -> Task:
    start = int(NOW.timestamp())
    consensus = result_hash(TASK, DIGEST)
    return Task(status, DEAL, 0, 300, start + 2100, start + 600, start + 3000, consensus, 0, 1, (), DIGEST, b"", 0, b"")


NOTHING = Contribution(ContributionStatus.UNSET, ZERO_BYTES32, ZERO_BYTES32, ZERO_ADDRESS, 0)
MINE = Contribution(
    ContributionStatus.CONTRIBUTED,
    result_hash(TASK, DIGEST),
    result_seal(WORKER.address, TASK, DIGEST),
    ZERO_ADDRESS,
    1,
)


@pytest.mark.parametrize(
    ("deal", "task", "mine", "stake", "after_s", "problem"),
    [
        pytest.param(description(), chain_task(), NOTHING, 0, 0, None, id="fine"),
        pytest.param(description(stake=5), chain_task(), NOTHING, 4, 0, Cause.STAKE_TOO_LOW, id="stake"),
        pytest.param(description(stake=5, tag=SCONE), chain_task(), NOTHING, 0, 0, None, id="no stake to finalize"),
        pytest.param(description(), None, NOTHING, 0, 0, Cause.TASK_NOT_ACTIVE, id="not initialized"),
        pytest.param(
            description(), chain_task(TaskStatus.REVEALING), NOTHING, 0, 0, Cause.TASK_NOT_ACTIVE, id="revealing"
        ),
        pytest.param(description(), chain_task(), NOTHING, 0, 2100, Cause.CONTRIBUTION_TIMEOUT, id="too late"),
        pytest.param(description(), chain_task(), MINE, 0, 0, Cause.CONTRIBUTION_ALREADY_SET, id="twice"),
        pytest.param(description(stake=5), None, MINE, 0, 9999, Cause.STAKE_TOO_LOW, id="the first one counts"),
    ],
)
def test_contribution_problem(
    *, deal: DealDescription, task: Task | None, mine: Contribution, stake: int, after_s: int, problem: Cause | None
) -> None:
    now = NOW + timedelta(seconds=after_s)
    assert contribution_problem(deal, task, mine, Account(stake, 0), now) is problem


def test_finalization_problem() -> None:
    assert finalization_problem(description(), chain_task()) is None
    assert finalization_problem(description(trust=2), chain_task()) is Cause.TRUST_NOT_1
    contributed = replace(chain_task(), contributors=(WORKER.address,))
    assert finalization_problem(description(), contributed) is Cause.TASK_ALREADY_CONTRIBUTED


def test_can_reveal_needs_everything() -> None:
    revealing = chain_task(TaskStatus.REVEALING)

    def ask(task: Task | None, mine: Contribution, digest: Bytes32 = DIGEST, now: datetime = NOW) -> bool:
        return can_reveal(task, mine, task_id=TASK, worker=WORKER.address, digest=digest, now=now)

    assert ask(revealing, MINE)
    assert not ask(None, MINE)
    assert not ask(chain_task(), MINE)
    assert not ask(revealing, NOTHING)
    assert not ask(revealing, replace(MINE, status=ContributionStatus.PROVED))
    assert not ask(revealing, replace(MINE, result_seal=ZERO_BYTES32))
    assert not ask(revealing, MINE, digest=TASK)
    assert not ask(replace(revealing, consensus_value=TASK), MINE)
    assert not ask(revealing, MINE, now=NOW + timedelta(seconds=600))


@pytest.mark.parametrize(
    ("deal", "rejected"),
    [
        (description(), False),
        (description(trust=5), False),
        (description(tag=SCONE), False),
        (description(tag=SCONE, trust=0), False),
        (description(tag=SCONE, trust=2), True),
        (description(tag=BARE_TEE), True),
        (description(tag=tags.encode(["tee", "scone", "gramine"])), True),
        (description(tag=tags.encode(["tee", "scone", "gpu"])), False),
        (description(tag=Bytes32("0x" + "00" * 30 + "0200")), True),
    ],
)
def test_deals_that_are_rejected(deal: DealDescription, rejected: bool) -> None:
    owner = deal.deal.workerpool.owner
    assert bool(rejection(deal, NOW, owner)) is rejected
    assert rejection(deal, deal.contribution_deadline, owner)
    assert rejection(deal, NOW, CHALLENGE.address)


AUTHORIZATION = WorkerpoolAuthorization(
    chain_task_id=TASK,
    worker_wallet=WORKER.address,
    enclave_challenge=CHALLENGE.address,
    signature=SignatureValue(value="0x"),
)
CAUSES = [ExitCause(cause="PRE_COMPUTE_DATASET_KEY_MISSING", message="m")]


def board(tmp_path: Path, status: TaskStatus = TaskStatus.ACTIVE, *, is_tee: bool = True) -> StageBoard:
    found = StageBoard(lambda _task: status)
    folders = TaskFolders.of(tmp_path, TASK)
    folders.create()
    found.open(AUTHORIZATION, folders, is_tee=is_tee)
    return found


def call_signature(wallet: Wallet = CHALLENGE) -> str:
    return to_hex(wallet.sign_personal(word_bytes(stage_message(TASK, WORKER.address))))


def computed(digest: Bytes32 = DIGEST, wallet: Wallet = CHALLENGE, task: str = TASK) -> ComputedFile:
    message = contribution_message(TASK, WORKER.address, digest)
    return ComputedFile(
        deterministic_output_path="/iexec_out/r",
        task_id=task,
        result_digest=digest,
        enclave_signature=to_hex(wallet.sign_personal(word_bytes(message))),
    )


def test_causes_are_taken_once_and_signed(tmp_path: Path) -> None:
    target = board(tmp_path)
    assert target.report_causes(DEAL, Stage.PRE, CAUSES, call_signature()) is Verdict.UNKNOWN_TASK
    assert target.report_causes(TASK, Stage.PRE, CAUSES, call_signature(WORKER)) is Verdict.REFUSED
    assert target.report_causes(TASK, Stage.PRE, CAUSES, "0x12") is Verdict.REFUSED
    assert target.report_causes(TASK, Stage.PRE, [], call_signature()) is Verdict.MALFORMED
    assert target.report_causes(TASK, Stage.PRE, CAUSES, call_signature()) is Verdict.STORED
    assert target.report_causes(TASK, Stage.PRE, CAUSES, call_signature()) is Verdict.ALREADY
    assert target.report_causes(TASK, Stage.POST, CAUSES, call_signature()) is Verdict.STORED
    assert target.causes(TASK, Stage.PRE) == [Cause.PRE_COMPUTE_DATASET_KEY_MISSING]


def test_computed_is_taken_once(tmp_path: Path) -> None:
    target = board(tmp_path)
    assert target.report_computed(TASK, computed(task=DEAL), call_signature()) is Verdict.MALFORMED
    assert target.report_computed(TASK, computed(), call_signature(WORKER)) is Verdict.REFUSED
    assert target.report_computed(TASK, computed(wallet=WORKER), call_signature()) is Verdict.REFUSED
    assert target.report_computed(TASK, computed(ZERO_BYTES32), call_signature()) is Verdict.REFUSED
    short = replace(computed(), enclave_signature="0x" + "00" * 64)
    assert target.report_computed(TASK, short, call_signature()) is Verdict.REFUSED
    assert target.report_computed(TASK, computed(), call_signature()) is Verdict.STORED
    assert target.report_computed(TASK, computed(), call_signature()) is Verdict.REFUSED
    kept = ComputedFile.parse(TaskFolders.of(tmp_path, TASK).computed.read_bytes())
    assert kept == computed()


def test_computed_needs_an_active_enclave_task(tmp_path: Path) -> None:
    late = board(tmp_path, TaskStatus.REVEALING)
    assert late.report_computed(TASK, computed(), call_signature()) is Verdict.REFUSED
    standard = board(tmp_path, is_tee=False)
    assert standard.report_computed(TASK, computed(), call_signature()) is Verdict.REFUSED


@pytest.mark.parametrize(
    ("status", "reported", "cause"),
    [
        (ExitStatus(0), [], None),
        (ExitStatus(1), [Cause.PRE_COMPUTE_DATASET_KEY_MISSING], Cause.PRE_COMPUTE_DATASET_KEY_MISSING),
        (ExitStatus(1), [], Cause.PRE_COMPUTE_FAILED_UNKNOWN_ISSUE),
        (ExitStatus(2), [], Cause.PRE_COMPUTE_EXIT_REPORTING_FAILED),
        (ExitStatus(3), [], Cause.PRE_COMPUTE_TASK_ID_MISSING),
        (ExitStatus(77), [], Cause.PRE_COMPUTE_FAILED_UNKNOWN_ISSUE),
        (ExitStatus(137, timed_out=True), [], Cause.PRE_COMPUTE_TIMEOUT),
    ],
)
def test_stage_failure(status: ExitStatus, reported: list[Cause], cause: Cause | None) -> None:
    assert stage_failure(Stage.PRE, status, reported) is cause


def test_agent_refusal_is_the_last_line() -> None:
    line = "adyton-enclave: refused cas.release.measurement: not in the session"
    assert agent_refusal("noise\n" + line + "\n") == ("cas.release.measurement", "not in the session")
    assert agent_refusal(line + "\nsomething else") is None
    assert agent_refusal("") is None


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"", Cause.PRE_COMPUTE_MISSING_ENCLAVE_CONFIGURATION),
        (b"{", Cause.PRE_COMPUTE_INVALID_ENCLAVE_CONFIGURATION),
        (b"[]", Cause.PRE_COMPUTE_INVALID_ENCLAVE_CONFIGURATION),
        (b'{"framework":"SCONE","version":"v5"}', Cause.PRE_COMPUTE_INVALID_ENCLAVE_CONFIGURATION),
        (
            b'{"framework":"SCONE","version":"v5","fingerprint":"ab"}',
            Cause.PRE_COMPUTE_INVALID_ENCLAVE_CONFIGURATION,
        ),
    ],
)
def test_enclave_configuration_refuses(raw: bytes, cause: Cause) -> None:
    with pytest.raises(StepError) as caught:
        EnclaveConfig.parse(raw)
    assert caught.value.cause is cause


def test_enclave_configuration_reads() -> None:
    raw = b'{"framework":"SCONE","version":"v5","heapSize":1024,"entrypoint":"x","fingerprint":"' + b"ab" * 32 + b'"}'
    assert EnclaveConfig.parse(raw) == EnclaveConfig("SCONE", "v5", 1024)


def test_command_line() -> None:
    config = ImageConfig(entrypoint=("/app",), cmd=("default",))
    assert command_line(config, "") == ("/app", "default")
    assert command_line(config, "a 'b c'") == ("/app", "a", "b c")
    for image, args in ((config, "'open"), (ImageConfig(), "")):
        with pytest.raises(StepError):
            command_line(image, args)


def test_application_environment() -> None:
    task = TaskDescription(description(params='{"iexec_args":"x","iexec_input_files":["http://host/file1"]}'), 1)
    variables = application_environment(task)
    assert variables["IEXEC_INPUT_FILE_NAME_1"] == "0xd4afc5e514196a391d04174cee09ff53688ba2aa987e208ec3936a0f4c4d9f4f"
    assert variables["IEXEC_BOT_TASK_INDEX"] == "1"
    assert variables["IEXEC_BOT_SIZE"] == "2"
    assert variables["IEXEC_DATASET_ADDRESS"] == ZERO_ADDRESS


def test_links_are_the_official_texts() -> None:
    assert ipfs_link("QmX") == ipfs_link("/ipfs/QmX") == '{ "storage": "ipfs", "location": "/ipfs/QmX" }'
    assert dropbox_link(TASK) == f'{{ "storage": "dropbox", "location": "/results/{TASK}" }}'
    address = parse_address("0x" + "ab" * 20)
    assert callback_link(address) == f'{{ "storage": "ethereum", "location": "{address}" }}'
