"""A workerpool's own API: where it is, and what its scheduler says about a task (section 4.6)."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from adyton.base.types import Address, Bytes32
from adyton.market.wire import sign_challenge
from adyton.sdk.config import ENS
from adyton.sdk.errors import ClientError
from adyton.sdk.services import COMPASS, WORKERPOOL, calling
from adyton.sdk.session import Session
from adyton.web.client import HttpClient

URL_RECORD: Final = "iexec:workerpool-api:url"


def api_url(session: Session, workerpool: Address) -> str | None:
    """The URL that a workerpool has registered, in Compass or in its name's text record; None when there is none.

    Raises:
        ApiCallError: Compass does not answer.
        ClientError: Compass refuses for another reason than not knowing the workerpool.
    """
    compass = session.chain.urls.get("compass")
    if compass is not None:
        return _from_compass(session, compass, workerpool)
    if not session.chain.has_feature(ENS) or not session.has_ens:
        return None
    name = session.ens.lookup(workerpool)
    return session.ens.text(name, URL_RECORD) if name else None


def require_api_url(session: Session, workerpool: Address) -> str:
    """As :func:`api_url`, for calls that need it.

    Raises:
        ClientError: none is registered.
    """
    url = api_url(session, workerpool)
    if url is None:
        message = f"Impossible to resolve API url for workerpool {workerpool}"
        raise ClientError(message, code="sdk.pool.no_url", hint='its owner can register one: "workerpool set-api-url"')
    return url


def set_api_url(session: Session, workerpool: Address, url: str) -> Bytes32:
    """Register a workerpool's URL in the text record of its name; empty removes it. Returns the transaction's hash.

    Raises:
        ClientError: the workerpool has no name, or the name is another account's.
        NodeError: the transaction failed.
    """
    name = session.ens.lookup(workerpool)
    if name is None:
        raise ClientError(
            f'Missing ENS for workerpool {workerpool}. You probably forgot to run "iexec ens register <name> '
            f'--for {workerpool}"',
            code="sdk.pool.no_name",
        )
    if session.ens.owner(name) != session.wallet.address:
        raise ClientError(f"{session.wallet.address} is not authorised to set a text record for {name}")
    return session.send(session.ens.resolver(name), session.ens.set_text(name, URL_RECORD, url)).transaction_hash


def offchain_info(session: Session, task_id: Bytes32, workerpool: Address) -> dict[str, Any]:
    """What the scheduler knows of a task: its history and its replicates.

    Raises:
        ClientError: no URL, or refused.
        ApiCallError: it does not answer.
    """
    url = require_api_url(session, workerpool)
    document = _get(url, f"/tasks/{task_id}")
    return {
        "task": {"status": document.get("currentStatus"), "statusHistory": document.get("dateStatusList")},
        "replicates": [
            {
                "worker": replicate.get("walletAddress"),
                "exitCode": replicate.get("appExitCode"),
                "status": replicate.get("currentStatus"),
                "statusHistory": replicate.get("statusUpdateList"),
            }
            for replicate in document.get("replicates") or []
        ],
    }


def logs(session: Session, task_id: Bytes32, workerpool: Address, requester: Address) -> list[dict[str, Any]]:
    """What the app wrote on the workers, for the task's requester.

    Raises:
        ClientError: the wallet is not the requester, or the scheduler refuses.
        ApiCallError: it does not answer.
    """
    if session.wallet.address != requester:
        message = f"Only task requester {requester} can access replicates logs"
        raise ClientError(message, code="sdk.pool.not_requester")
    url = require_api_url(session, workerpool)
    query = urlencode({"address": session.wallet.address, "chainId": session.chain.chain_id})
    challenge = _get(url, f"/tasks/logs/challenge?{query}")
    token = sign_challenge(challenge, session.wallet, session.chain.chain_id)
    document = _get(url, f"/tasks/{task_id}/logs", {"Authorization": str(token)})
    return [
        {"worker": entry.get("walletAddress"), "stdout": entry.get("stdout"), "stderr": entry.get("stderr")}
        for entry in document.get("computeLogsList") or []
    ]


def _get(url: str, path: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    client = HttpClient(url, "workerpool")
    try:
        with calling(WORKERPOOL, url):
            document = client.json("GET", path, headers=headers or {})
    finally:
        client.close()
    if not isinstance(document, dict):
        raise ClientError("the workerpool's answer is not an object", code="sdk.pool.answer")
    return document


def _from_compass(session: Session, url: str, workerpool: Address) -> str | None:
    client = HttpClient(url, "Compass")
    try:
        with calling(COMPASS, url):
            expected = (200, *range(400, 500))
            answer = client.request("GET", f"/{session.chain.chain_id}/workerpools/{workerpool}", expect=expected)
            document = answer.json() if answer.status_code == 200 else {}
    except ValueError:
        return None
    finally:
        client.close()
    found = document.get("apiUrl") if isinstance(document, dict) else None
    return found if isinstance(found, str) else None
