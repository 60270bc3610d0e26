"""A pool end to end on a real chain: standard tasks from the deal to the result and back."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.conftest import Chain
from tests.workerpool.pool import Pool, open_pool

from adyton.base.types import Bytes32, to_hex
from adyton.chain.models import TaskStatus
from adyton.chain.wallet import Wallet
from adyton.compute.digest import path_digest
from adyton.results.client import IpfsClient
from adyton.workerpool.scheduler.feedback import logs_document


@pytest.fixture(scope="module")
def pool(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with open_pool(chain, tmp_path_factory.mktemp("pool")) as opened, opened.scheduler():
        yield opened


def logs_token(pool: Pool, wallet: Wallet) -> str:
    document = httpx2.get(f"{pool.scheduler_url}/tasks/logs/challenge?address={wallet.address}&chainId=134").json()
    typed = logs_document(document["domain"]["chainId"], document["message"]["challenge"])
    assert typed.to_json() == document
    return f"{typed.digest}_{to_hex(wallet.sign_digest(typed.digest))}_{wallet.address}"


def test_task_is_computed_revealed_uploaded_and_finalized(pool: Pool, tmp_path: Path) -> None:
    (task,) = pool.buy("world")
    with pool.worker():
        done = pool.await_status(task, TaskStatus.COMPLETED)
        view = pool.await_view(
            task,
            lambda v: v["currentStatus"] == "COMPLETED" and v["replicates"][0]["currentStatus"] == "COMPLETED",
        )

    location = done.results.decode()
    assert location.startswith('{ "storage": "ipfs", "location": "/ipfs/')
    archive = httpx2.get(pool.results_url + location.split('"')[7]).content
    with zipfile.ZipFile(io.BytesIO(archive)) as bundle:
        assert sorted(bundle.namelist()) == ["computed.json", "result.txt", "stdout.txt"]
        assert bundle.read("result.txt") == b"task 0 says world\n"
        assert bundle.read("stdout.txt") == b"hello world\n"
        bundle.extract("result.txt", tmp_path)
    assert path_digest(tmp_path / "result.txt") == done.result_digest

    assert [each["status"] for each in view["dateStatusList"]] == [
        "RECEIVED",
        "INITIALIZING",
        "INITIALIZED",
        "RUNNING",
        "CONSENSUS_REACHED",
        "AT_LEAST_ONE_REVEALED",
        "RESULT_UPLOADING",
        "RESULT_UPLOADED",
        "FINALIZING",
        "FINALIZED",
        "COMPLETED",
    ]
    replicate = view["replicates"][0]
    assert replicate["appExitCode"] == 0
    assert [each["status"] for each in replicate["statusUpdateList"]][-3:] == [
        "RESULT_UPLOADED",
        "COMPLETING",
        "COMPLETED",
    ]


def test_logs_are_for_the_requester_only(pool: Pool) -> None:
    (task,) = pool.buy("logs")
    with pool.worker():
        pool.await_status(task, TaskStatus.COMPLETED)
    address = f"{pool.scheduler_url}/tasks/{task}/logs"
    good = httpx2.get(address, headers={"Authorization": logs_token(pool, pool.requester)})
    assert good.status_code == 200
    assert good.json()["computeLogsList"][0]["stdout"] == "hello logs\n"
    other = Wallet.create()
    assert httpx2.get(address, headers={"Authorization": logs_token(pool, other)}).status_code == 403
    assert httpx2.get(address).status_code == 401
    hash_, _, owner = logs_token(pool, pool.requester).split("_")
    forged = to_hex(other.sign_digest(Bytes32(hash_)))
    assert httpx2.get(address, headers={"Authorization": f"{hash_}_{forged}_{owner}"}).status_code == 401


def test_bag_of_tasks_and_input_files(pool: Pool, tmp_path: Path) -> None:
    ipfs = IpfsClient(pool.results_url, pool.results_url)
    content = ipfs.add(b"input\n")
    ipfs.close()
    url = f"{pool.results_url}/ipfs/{content}"
    tasks = pool.buy("bag", volume=3, iexec_input_files=[url])
    with pool.worker():
        done = [pool.await_status(task, TaskStatus.COMPLETED) for task in tasks]
    digests = {task.result_digest for task in done}
    assert len(digests) == 3
    (tmp_path / "result.txt").write_text("input\ntask 2 says bag\n")
    assert done[2].result_digest == path_digest(tmp_path / "result.txt")


def test_failing_application_is_reported_with_its_exit_code_and_logs(pool: Pool) -> None:
    (task,) = pool.buy("fail")
    with pool.worker("w2"):
        view = pool.await_view(task, lambda v: any(each["currentStatus"] == "ABORTED" for each in v["replicates"]))
    # The connection of the worker before may have got the task first; it never started it and was given up.
    replicate = next(each for each in view["replicates"] if each["currentStatus"] == "ABORTED")
    failed = next(each for each in replicate["statusUpdateList"] if each["status"] == "COMPUTE_FAILED")
    assert failed["cause"] == "APP_COMPUTE_FAILED"
    assert replicate["appExitCode"] == 3
    answer = httpx2.get(
        f"{pool.scheduler_url}/tasks/{task}/logs", headers={"Authorization": logs_token(pool, pool.requester)}
    )
    assert [each["stderr"] for each in answer.json()["computeLogsList"]] == ["bad luck\n"]


def test_unavailable_input_becomes_the_result(pool: Pool) -> None:
    (task,) = pool.buy(
        "x", iexec_input_files=[f"{pool.results_url}/ipfs/QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"]
    )
    with pool.worker():
        done = pool.await_status(task, TaskStatus.COMPLETED)
    archive = httpx2.get(pool.results_url + done.results.decode().split('"')[7]).content
    with zipfile.ZipFile(io.BytesIO(archive)) as bundle:
        assert bundle.read("error.txt") == (
            b"[IEXEC] Errors occurred while computing the task "
            b"[error:DATA_DOWNLOAD_FAILED, causes:[INPUT_FILES_DOWNLOAD_FAILED]]"
        )


def test_two_workers_agree_for_trust_4(pool: Pool) -> None:
    (task,) = pool.buy("together", trust=4)
    with pool.worker("a"), pool.worker("b"):
        done = pool.await_status(task, TaskStatus.COMPLETED)
    assert done.winner_counter == 2


def test_restarted_scheduler_and_worker_finish_what_they_began(chain: Chain, tmp_path: Path) -> None:
    with open_pool(chain, tmp_path) as pool:
        with pool.scheduler():
            (first,) = pool.buy("first")
            pool.await_view(first, lambda v: v["currentStatus"] == "INITIALIZED")
        (second,) = pool.buy("second")  # nobody listens: the notice must be found later
        with pool.scheduler():
            with pool.worker():
                pool.await_view(first, lambda v: bool(v["replicates"]))
            with pool.worker():
                pool.await_status(first, TaskStatus.COMPLETED)
                pool.await_status(second, TaskStatus.COMPLETED)
            metrics = httpx2.get(f"{pool.scheduler_url}/metrics").json()
            assert metrics["dealsCount"] == metrics["dealEventsCount"] == 2
            assert metrics["currentTaskStatusesCount"]["COMPLETED"] == 2
