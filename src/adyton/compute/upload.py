"""Storing a result from inside the post-compute enclave: result proxy (IPFS) or Dropbox (SMS reference 7.4).

What is uploaded is the archive or its ciphertext, with the digest and the enclave's signature over it.
"""

from __future__ import annotations

import base64
import json
from typing import Final

from adyton.base.secret import Secret
from adyton.base.types import ZERO_BYTES32, Bytes32
from adyton.web.client import HttpClient

DROPBOX_URL: Final = "https://content.dropboxapi.com"
_TIMEOUT_S: Final = 300.0  # the proxy answers only when IPFS has it


def upload_ipfs(
    proxy_url: str, token: Secret[str], task_id: Bytes32, *, digest: Bytes32, signature: str, archive: bytes
) -> str:
    """Give the result to the result proxy; the answer is ``/ipfs/<cid>``.

    Raises:
        UnavailableError, AnswerError: the proxy does not take it.
    """
    model = {
        "chainTaskId": task_id,
        "dealId": ZERO_BYTES32,
        "taskIndex": 0,
        "zip": base64.b64encode(archive).decode(),
        "deterministHash": digest,
        "enclaveSignature": signature,
    }
    client = HttpClient(proxy_url, "result proxy", timeout_s=_TIMEOUT_S)
    headers = {"Authorization": token.reveal(), "Content-Type": "application/json"}
    body = json.dumps(model).encode()
    try:
        return client.request("POST", "/v1/results", content=body, headers=headers, expect=(200,)).text
    finally:
        client.close()


def upload_dropbox(token: Secret[str], task_id: Bytes32, archive: bytes, *, base_url: str = DROPBOX_URL) -> None:
    """Store the result as ``/results/<taskId>.zip`` in the requester's Dropbox.

    Raises:
        UnavailableError, AnswerError: Dropbox does not take it.
    """
    argument = {
        "autorename": False,
        "mode": "add",
        "mute": False,
        "path": f"/results/{task_id}.zip",
        "strict_conflict": False,
    }
    headers = {
        "Authorization": "Bearer " + token.reveal(),
        "Content-Type": "application/octet-stream",
        "Dropbox-API-Arg": json.dumps(argument),
    }
    client = HttpClient(base_url, "Dropbox", timeout_s=_TIMEOUT_S)
    try:
        client.request("POST", "/2/files/upload", content=archive, headers=headers, expect=(200,))
    finally:
        client.close()
