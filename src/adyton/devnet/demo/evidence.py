"""From what happened to what proves it: the ten steps of one task, each with something a reader can check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from adyton.base.errors import AdytonError
from adyton.base.types import parse_address
from adyton.chain.contracts import read_app
from adyton.chain.rpc import Rpc
from adyton.devnet.demo.audit import AuditLine, cas_audit, sms_audit, stored_rows
from adyton.devnet.demo.owners import Application
from adyton.devnet.demo.report import Step
from adyton.devnet.demo.watch import Purchase
from adyton.devnet.network import Network, Pool
from adyton.devnet.paths import NetworkPaths


class MissingEvidenceError(AdytonError):
    """A step left no trace where it must leave one."""

    code = "demo.evidence"


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that the steps' evidence is taken from."""

    paths: NetworkPaths
    network: Network
    pool: Pool
    app: Application
    owners: dict[str, str]
    purchase: Purchase
    push_seconds: float
    buy_seconds: float


def steps(story: Story) -> list[Step]:
    """The ten steps.

    Raises:
        MissingEvidenceError: one of them left no trace.
    """
    return list(_steps(story))


def _steps(story: Story) -> Iterator[Step]:
    purchase = story.purchase
    rpc = Rpc(story.network.rpc)
    bought, initialized = purchase.logs["bought"], purchase.logs["initialized"]
    times = {number: datetime.fromtimestamp(rpc.block(number).timestamp, UTC) for number in (bought.block_number,)}
    secrets = sms_audit(story.paths.data("sms"))
    sessions = cas_audit(story.paths.data("cas"))
    opened = _find(secrets, "session.released", task=purchase.task_id)
    session = opened.fields["session"]
    created = _find(sessions, "session.create", session=session[:16])
    key = _find(
        sessions, "release", service="sms", outcome="released", mrenclave=story.network.measurements["sms-production"]
    )
    app = _find(sessions, "release", service="app", session=session[:16], outcome="released")
    stages = [line for line in sessions if line.event == "release" and line.fields.get("session") == session[:16]]

    yield Step("1", "secret owners pushed their secrets to the SMS", _pushed(story, secrets), story.push_seconds)
    yield Step(
        "2",
        "the requester bought a task on chain",
        {"dealid": purchase.deal_id, "transaction": bought.transaction_hash, "block": bought.block_number},
        story.buy_seconds,
    )
    yield Step(
        "3",
        "the chain notified the workerpool, which initialized the task",
        {"taskid": purchase.task_id, "transaction": initialized.transaction_hash, "workerpool": story.pool.address},
        round(purchase.seen["initialized"] - purchase.seen["bought"], 3),
    )
    began = times[bought.block_number]
    yield Step(
        "4",
        "the worker asked the SMS for a session, authorized by the workerpool",
        {"worker": opened.fields["worker"], "workerpoolOwner": story.pool.owner, "sms": story.pool.sms},
        _between(began, opened.at),
    )
    yield Step(
        "5",
        "the SMS checked the authorization against task and deal on chain",
        {"dealid": opened.fields["deal"], "taskid": opened.fields["task"], "auditEntry": opened.link},
        0.0,
    )
    yield Step(
        "6a",
        "the SMS read the encrypted secrets from its database",
        {"ciphertextSha256": _ciphertexts(story), "services": opened.fields["services"]},
        0.0,
    )
    yield Step(
        "6b",
        "the SMS has its database key from the CAS, after attestation",
        {"mrenclave": key.fields["mrenclave"], "tier": key.fields["tier"], "auditEntry": key.link},
        0.0,
    )
    yield Step(
        "7",
        "the SMS pushed a session to the CAS that only those enclaves may read",
        {
            "sessionHash": created.fields["session_hash"],
            "creator": created.fields["client"],
            "auditEntry": created.link,
        },
        _between(opened.at, created.at),
    )
    yield Step("8", "the SMS answered the worker with the session's id", {"sessionIdSha256": session}, 0.0)
    yield Step(
        "9",
        "the worker launched the application on the platform, which measured it",
        _deployed(story, rpc),
        _between(created.at, app.at),
    )
    yield Step(
        "10",
        "the application got its secrets from the CAS over RA-TLS",
        {
            "mrenclave": app.fields["mrenclave"],
            "tier": app.fields["tier"],
            "sessionHash": app.fields["session_hash"],
            "auditEntry": app.link,
            "services": [line.fields["service"] for line in stages],
        },
        0.0,
    )


def _deployed(story: Story, rpc: Rpc) -> dict[str, Any]:
    """What the chain says about the application that the worker had to launch; step 10 says what was measured."""
    app = read_app(rpc, parse_address(story.app.address))
    fingerprint = json.loads(app.mrenclave)["fingerprint"]
    return {"app": story.app.address, "mrenclave": fingerprint, "imageDigest": app.checksum, "tier": story.network.tier}


def _pushed(story: Story, secrets: list[AuditLine]) -> dict[str, Any]:
    stored = [line for line in secrets if line.event == "secret.stored"]
    evidence: dict[str, Any] = {"sms": story.network.sms, "mrenclave": story.network.measurements["sms-production"]}
    for role, owner in story.owners.items():
        lines = [line for line in stored if line.fields["owner"].lower() == owner.lower()]
        if not lines:
            raise MissingEvidenceError(f"step 1: the SMS has no record of a secret of the {role} ({owner})")
        evidence[role] = {"owner": owner, "auditEntry": lines[0].link}
    return evidence


def _find(lines: list[AuditLine], event: str, **members: Any) -> AuditLine:  # noqa: ANN401  # JSON is any
    for line in reversed(lines):
        if line.event == event and all(line.fields.get(name) == value for name, value in members.items()):
            return line
    raise MissingEvidenceError(f"there is no audit entry {event} with {members}")


def _ciphertexts(story: Story) -> dict[str, str]:
    rows = stored_rows(story.paths.data("sms"))
    return {role: rows[owner.lower()] for role, owner in story.owners.items()}


def _between(earlier: datetime, later: datetime) -> float:
    return round(max(0.0, (later - earlier).total_seconds()), 3)
