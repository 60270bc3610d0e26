"""What follows from a task's state and the time; results' locations; tags and services' errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, parse_bytes32
from adyton.chain.models import Task, TaskStatus
from adyton.sdk import orders, results
from adyton.sdk.deals import TaskView, result_location
from adyton.sdk.errors import ApiCallError, ClientError
from adyton.sdk.services import MARKET, calling
from adyton.web.client import AnswerError

TASK_ID = parse_bytes32("0x" + "11" * 32)
TASK = Task(
    status=TaskStatus.COMPLETED,
    deal_id=parse_bytes32("0x" + "22" * 32),
    idx=3,
    timeref=300,
    contribution_deadline=1,
    reveal_deadline=2,
    final_deadline=3,
    consensus_value=ZERO_BYTES32,
    reveal_counter=1,
    winner_counter=1,
    contributors=(ZERO_ADDRESS,),
    result_digest=ZERO_BYTES32,
    results=b'{"storage":"ipfs","location":"/ipfs/Qm"}',
    results_timestamp=4,
    results_callback=b"",
)


def view(status: TaskStatus, *, late: bool = False, task_results: bytes = TASK.results) -> TaskView:
    task = replace(TASK, status=status, results=task_results)
    return TaskView(TASK_ID, task if status else None, TASK.deal_id, 3, late)


@pytest.mark.parametrize(
    ("status", "late", "name", "over", "claimable"),
    [
        (TaskStatus.UNSET, False, "UNSET", False, False),
        (TaskStatus.UNSET, True, "TIMEOUT", True, True),
        (TaskStatus.ACTIVE, False, "ACTIVE", False, False),
        (TaskStatus.ACTIVE, True, "TIMEOUT", True, True),
        (TaskStatus.REVEALING, True, "TIMEOUT", True, True),
        (TaskStatus.COMPLETED, False, "COMPLETED", True, False),
        (TaskStatus.FAILED, True, "FAILED", True, False),
    ],
)
def test_status(status: TaskStatus, late: bool, name: str, over: bool, claimable: bool) -> None:
    found = view(status, late=late)
    assert (found.status_name, found.is_over, found.claimable) == (name, over, claimable)


def test_json() -> None:
    document = view(TaskStatus.COMPLETED).to_json()
    assert document["status"] == 3
    assert document["idx"] == "3"
    assert document["results"] == {"storage": "ipfs", "location": "/ipfs/Qm"}
    assert list(view(TaskStatus.UNSET).to_json()) == ["taskid", "status", "dealid", "idx", "statusName", "taskTimedOut"]


@pytest.mark.parametrize("raw", [b"", b"\xff", b"{", b"[]", b"3", b"[" * 100_000])
def test_unreadable_results(raw: bytes) -> None:
    assert result_location(raw) == {"storage": "none"}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "No result uploaded for this task"),
        (b'{"storage":"dropbox"}', "Task result stored on dropbox, download not supported"),
        (b'{"storage":"ipfs"}', "Missing location"),
        (b'{"storage":"ipfs","location":"http://evil"}', "Missing location"),
    ],
)
def test_results_that_cannot_be_fetched(raw: bytes, message: str) -> None:
    with pytest.raises(ClientError, match=message):
        results._ipfs_location(view(TaskStatus.COMPLETED, task_results=raw))
    with pytest.raises(ClientError, match="not completed"):
        results._ipfs_location(view(TaskStatus.ACTIVE))


@pytest.mark.parametrize(("name", "expected"), [(None, f"{TASK_ID}.zip"), ("a", "a.zip"), ("b.zip", "b.zip")])
def test_download_names(name: str | None, expected: str) -> None:
    assert results.download_path(Path("/here"), view(TaskStatus.COMPLETED), name) == Path("/here", expected)


def test_missing_key(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="Failed to load beneficiary key"):
        results.decrypt_archive(b"", tmp_path / "none")


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (None, 0),
        ("", 0),
        ([], 0),
        ("tee,scone", 3),
        (["tee", "tdx"], 9),
        ("tee, gramine", 5),
        ("0x" + "00" * 31 + "03", 3),
    ],
)
def test_tags(value: object, bits: int) -> None:
    assert int(orders.parse_tag(value), 16) == bits


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("foo", "foo is not a valid tag. Unknown tag foo"),
        ("0x12", "0x12 is not a valid tag"),
        ("0x" + "00" * 31 + "10", "Unknown bit 4 in tag"),
        ("tee", "'tee' tag must be used with a tee framework"),
        ("scone", "'scone' tag must be used with 'tee' tag"),
        (5, "tag must be an array"),
        ([5], "tag must be an array"),
    ],
)
def test_wrong_tags(value: object, message: str) -> None:
    with pytest.raises(AdytonError, match=message):
        orders.parse_tag(value)


def test_bare_tee_where_it_is_allowed() -> None:
    assert int(orders.parse_tag("tee", allow_bare_tee=True), 16) == 1


@pytest.mark.parametrize(
    ("raised", "name", "message"),
    [
        (
            UnavailableError("down"),
            "MarketCallError",
            "Market API error: Connection to http://m/x failed with a network error",
        ),
        (
            AnswerError("five", status=503, body="{}"),
            "MarketCallError",
            "Market API error: Server at http://m/x encountered an internal error",
        ),
        (AnswerError("four", status=403, body='{"ok":false,"error":"no stake"}'), "Error", "API error: no stake"),
        (AnswerError("four", status=404, body="nothing"), "Error", "API error: 404"),
    ],
)
def test_failures_of_services(raised: AdytonError, name: str, message: str) -> None:
    with pytest.raises((ApiCallError, ClientError)) as caught, calling(MARKET, "http://m/x"):
        raise raised
    assert (getattr(caught.value, "name", ""), caught.value.message) == (name, message)
