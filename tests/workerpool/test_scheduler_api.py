"""The scheduler's routes: shapes that official clients read, who may come in, and what is refused."""

from __future__ import annotations

import httpx2
import pytest
from tests.waiting import until
from tests.workerpool.arena import Arena

from adyton.base.types import to_hex
from adyton.chain.wallet import Wallet
from adyton.workerpool.actions import Action
from adyton.workerpool.replicate import ReplicateStatus as R
from adyton.workerpool.task import TaskStatus
from adyton.workerpool.wire import MAX_LOG_CHARS, ComputeLogs, is_login_challenge, login_message

UNKNOWN = "0x" + "12" * 32
WORKER_ROUTES = [
    ("POST", "/workers/register"),
    ("POST", "/workers/ping"),
    ("GET", "/workers/computing"),
    ("GET", "/replicates/available?blockNumber=1"),
    ("GET", "/replicates/notifications"),
    ("GET", "/replicates/interrupted?blockNumber=1"),
    ("POST", f"/replicates/{UNKNOWN}/updateStatus"),
]


def test_public_routes_have_the_official_shapes(running_arena: Arena) -> None:
    arena = running_arena
    task = arena.buy()
    player = arena.player()
    player.take(task)
    player.compute(task)
    view = arena.view(task)
    assert {"chainTaskId", "currentStatus", "dateStatusList", "replicates", "tag", "trust", "maxExecutionTime"} <= set(
        view
    )
    assert not {"smsUrl", "enclaveChallenge", "chainDealId", "requester"} & set(view)
    assert (view["dappType"], view["maxExecutionTime"], view["commandLine"]) == ("DOCKER", 300_000, "x")
    (shown,) = view["replicates"]
    assert shown == httpx2.get(shown["self"]).json()
    assert (shown["walletAddress"], shown["currentStatus"], shown["appExitCode"]) == (player.address, "COMPUTED", 0)
    assert [each["status"] for each in shown["statusUpdateList"]][:2] == ["CREATED", "STARTING"]

    metrics = httpx2.get(f"{arena.url}/metrics").json()
    assert (metrics["aliveWorkers"], metrics["aliveRegisteredCpu"], metrics["aliveComputingCpu"]) == (1, 4, 0)
    assert set(metrics["currentTaskStatusesCount"]) == {status.value for status in TaskStatus}
    assert metrics["currentTaskStatusesCount"]["RUNNING"] == 1
    assert set(metrics["latestBlockMetric"]) == {"blockNumber", "blockHash", "blockTimestamp"}
    assert (metrics["dealEventsCount"], metrics["dealsCount"]) == (1, 1)
    assert metrics["latestBlockNumberWithDeal"] > 0

    config = httpx2.get(f"{arena.url}/workers/config").json()
    assert set(config) == {
        "workerPoolAddress",
        "schedulerPublicAddress",
        "configServerUrl",
        "resultRepositoryURL",
        "askForReplicatePeriod",
        "requiredWorkerVersion",
    }
    assert httpx2.get(f"{arena.url}/version").headers["content-type"].startswith("text/plain")
    assert httpx2.get(f"{arena.url}/actuator/health").json() == {"status": "UP"}
    assert "iexec_core_tasks_count" in httpx2.get(f"{arena.url}/actuator/prometheus").text


def test_what_does_not_exist_or_is_malformed(running_arena: Arena) -> None:
    arena = running_arena
    wallet = Wallet.create().address
    for path, status in (
        (f"/tasks/{UNKNOWN}", 404),
        ("/tasks/0x12", 400),
        (f"/tasks/{UNKNOWN}/replicates/{wallet}", 404),
        (f"/tasks/{UNKNOWN}/replicates/nobody", 400),
        (f"/tasks/{UNKNOWN}/logs", 401),
        ("/tasks/logs/challenge?address=nobody", 400),
        ("/workers/challenge?walletAddress=nobody", 400),
    ):
        assert httpx2.get(arena.url + path).status_code == status, path
    document = httpx2.get(f"{arena.url}/tasks/logs/challenge?address={wallet}").json()
    assert (document["primaryType"], document["domain"]["name"]) == ("Challenge", "iExec Core")


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x.y.z", "Basic abc", "Bearer " + "a" * 2000])
def test_worker_routes_need_a_token(running_arena: Arena, token: str) -> None:
    headers = {"Authorization": token} if token else {}
    for method, path in WORKER_ROUTES:
        assert httpx2.request(method, running_arena.url + path, headers=headers, json={}).status_code == 401, path


def test_login_is_a_signature_over_a_challenge_that_works_once(arena: Arena) -> None:
    admitted, stranger = Wallet.create(), Wallet.create()
    with arena.running(worker_whitelist=admitted.address.lower()):
        query = f"?walletAddress={admitted.address}"
        assert httpx2.get(f"{arena.url}/workers/challenge?walletAddress={stranger.address}").status_code == 401
        challenge = httpx2.get(f"{arena.url}/workers/challenge{query}").text
        assert is_login_challenge(challenge, arena.address, admitted.address)
        assert not is_login_challenge(challenge, arena.app, admitted.address)

        def login(wallet: Wallet, text: str) -> int:
            body = {"value": to_hex(wallet.sign_personal(login_message(text)))}
            return httpx2.post(f"{arena.url}/workers/login{query}", json=body).status_code

        assert login(stranger, challenge) == 401
        assert login(admitted, challenge + "x") == 401
        assert httpx2.post(f"{arena.url}/workers/login{query}", json={"value": "0x12"}).status_code == 401
        assert login(admitted, challenge) == 200
        assert login(admitted, challenge) == 401, "it is used up"


def test_logs_are_cut_kept_once_and_bounded(running_arena: Arena) -> None:
    arena = running_arena
    task = arena.buy()
    player = arena.player()
    player.take(task)
    for status in (R.STARTING, R.STARTED, R.APP_DOWNLOADING, R.APP_DOWNLOADED, R.DATA_DOWNLOADING, R.DATA_DOWNLOADED):
        player.report(task, status)
    logs = ComputeLogs(wallet_address=arena.owner.address, stdout="a" * MAX_LOG_CHARS + "end", stderr="e")
    player.report(task, R.COMPUTING, compute_logs=logs)
    assert "appLogs" not in arena.view(task)["replicates"][0], "logs come with the end of a computation"
    player.expect(task, R.COMPUTED, Action.PLEASE_CONTRIBUTE, compute_logs=logs)
    assert arena.scheduler is not None
    (kept,) = arena.scheduler.repo.logs(task)
    assert (kept["walletAddress"], len(kept["stdout"]), kept["stdout"][-4:]) == (player.address, MAX_LOG_CHARS, "aend")
    assert httpx2.get(arena.view(task)["replicates"][0]["appLogs"]).status_code == 401

    token = player.session._login().reveal()  # the bytes on the wire are the matter here
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{arena.url}/replicates/{task}/updateStatus"
    assert httpx2.post(url, content=b"x" * (2 << 20), headers=headers).status_code in {400, 413}
    for body in ({"status": "NONSENSE"}, {"status": "ABORTED", "other": 1}, {}, {"status": "ABORTED", "details": 3}):
        assert httpx2.post(url, json=body, headers=headers).status_code == 422, body


def test_a_waiting_worker_hears_of_work_at_once(running_arena: Arena) -> None:
    arena = running_arena
    player = arena.player()
    task = arena.buy()
    assert player.take(task, wait_s=20) == task
    until(lambda: task in player.session.computing())
