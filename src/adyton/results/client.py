"""Typed calls to a result proxy, to an IPFS node and to an IPFS gateway; ours or official ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from adyton.base.errors import NotFoundError, UnavailableError
from adyton.base.jsontext import parse_json
from adyton.base.secret import Secret
from adyton.base.types import Bytes32, parse_address, parse_bytes32, to_hex, word_bytes
from adyton.chain.hashing import authorization_hash
from adyton.chain.wallet import Wallet
from adyton.content.cid import Cid
from adyton.market.wire import sign_challenge
from adyton.results.wire import ResultModel
from adyton.sms.wire import WorkerpoolAuthorization
from adyton.web.client import AnswerError, HttpClient

UPLOAD_TIMEOUT_S = 300  # the answer comes when everything is stored


class ResultProxyClient:
    """Calls a result proxy.

    Args:
        url: where it is.
        timeout_s: seconds for connect and each read.
    """

    def __init__(self, url: str, *, timeout_s: float = UPLOAD_TIMEOUT_S) -> None:
        self._http = HttpClient(url, "result proxy", timeout_s=timeout_s)

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def token(self, authorization: WorkerpoolAuthorization, wallet: Wallet) -> Secret[str]:
        """The upload token of the worker ``wallet`` for the task that the workerpool authorized it for.

        Raises:
            AnswerError: status 401, not authorized.
            UnavailableError: no answer.
        """
        challenge = authorization_hash(
            parse_address(authorization.worker_wallet),
            parse_bytes32(authorization.chain_task_id),
            parse_address(authorization.enclave_challenge),
        )
        headers = {"Authorization": to_hex(wallet.sign_personal(word_bytes(challenge)))}
        body = authorization.model_dump(by_alias=True)
        return Secret(self._http.request("POST", "/v1/results/token", json=body, headers=headers).text)

    def upload(self, token: Secret[str], model: ResultModel) -> str:
        """Store a result; the answer is its location, ``/ipfs/<cid>``.

        Raises:
            AnswerError: 401 for the token, 400 when it is not accepted.
            UnavailableError: no answer.
        """
        headers = {"Authorization": token.reveal(), "Content-Type": "application/json"}
        content = model.to_json()
        return self._http.request("POST", "/v1/results", content=content, headers=headers, expect=(200,)).text

    def is_uploaded(self, task_id: Bytes32, token: Secret[str]) -> bool:
        """Whether the task has a result here.

        Raises:
            AnswerError: 401 for the token.
            UnavailableError: no answer.
        """
        headers = {"Authorization": token.reveal()}
        answer = self._http.request("HEAD", f"/v1/results/{task_id}", headers=headers, expect=(204, 404))
        return answer.status_code == 204

    def ipfs_hash(self, task_id: Bytes32) -> str | None:
        """The name under which the task's result is stored; None when there is none.

        Raises:
            UnavailableError: no answer.
        """
        answer = self._http.request("GET", f"/v1/results/{task_id}/ipfshash", expect=(200, 404))
        return answer.text if answer.status_code == 200 else None

    def login(self, wallet: Wallet, chain_id: int) -> Secret[str]:
        """The upload token of a requester; the same one each time.

        Raises:
            ChallengeError: the service asks to sign something else.
            AnswerError: refused.
            UnavailableError: no answer.
        """
        query = urlencode({"address": wallet.address, "chainId": chain_id})
        document = self._http.json("GET", f"/results/challenge?{query}")
        token = sign_challenge(document, wallet, chain_id)
        headers = {"Content-Type": "text/plain"}
        path = f"/results/login?chainId={chain_id}"
        return Secret(self._http.request("POST", path, content=str(token), headers=headers).text)


class IpfsClient:
    """Adds to an IPFS node and reads from a gateway.

    Args:
        node_url: Kubo RPC (``/api/v0``).
        gateway_url: serves ``/ipfs/<cid>``.
        timeout_s: seconds for connect and each read.
    """

    def __init__(self, node_url: str, gateway_url: str, *, timeout_s: float = UPLOAD_TIMEOUT_S) -> None:
        self._node = HttpClient(node_url, "IPFS node", timeout_s=timeout_s)
        self._gateway = HttpClient(gateway_url, "IPFS gateway", timeout_s=timeout_s)

    def close(self) -> None:
        """Release the connections."""
        self._node.close()
        self._gateway.close()

    def add(self, data: bytes) -> str:
        """Store bytes and return their CID (version 0).

        Raises:
            AnswerError: refused, for example as too large.
            UnavailableError: no answer, or not one of an IPFS node.
        """
        answer = self._node.request("POST", "/api/v0/add?pin=true", files={"file": ("file", data)}, expect=(200,))
        return _added(answer.text)

    def add_file(self, path: Path) -> str:
        """Like :meth:`add`, streaming a file."""
        with path.open("rb") as stream:
            answer = self._node.request("POST", "/api/v0/add?pin=true", files={"file": ("file", stream)}, expect=(200,))
        return _added(answer.text)

    def get(self, cid_or_path: str, *, accept: str = "*/*") -> bytes:
        """The content of ``<cid>`` or ``/ipfs/<cid>``.

        Raises:
            NotFoundError: the gateway does not have it.
            AnswerError: another refusal.
            UnavailableError: no answer.
        """
        path = cid_or_path if cid_or_path.startswith("/ipfs/") else f"/ipfs/{cid_or_path}"
        try:
            return self._gateway.request("GET", path, headers={"Accept": accept}, expect=(200,)).content
        except AnswerError as error:
            if error.status == 404:
                raise NotFoundError(f"the gateway has no {path}", code="results.ipfs.missing") from error
            raise


def _added(text: str) -> str:
    try:
        entry: dict[str, Any] = parse_json(text.strip().splitlines()[-1])
        return str(Cid.parse(entry["Hash"]))
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise UnavailableError("the IPFS node answered with something that names no content") from error
