"""Checking the outcome as an outsider can: the decrypted file, the digest on chain, the enclave's signature."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adyton.base.errors import AdytonError
from adyton.base.types import Address, Bytes32, from_hex, parse_address, to_hex, word_bytes
from adyton.chain.abi import codec
from adyton.chain.contracts import Hub
from adyton.chain.hashing import contribution_message
from adyton.chain.models import TaskStatus
from adyton.chain.rpc import Rpc
from adyton.chain.wallet import recover_personal
from adyton.devnet.demo.watch import Purchase
from adyton.devnet.network import Network

_LARGEST_RESULT = 1 << 20  # bytes
# taskid, digest, results, callback data, enclave challenge, enclave signature, authorization
_CONTRIBUTE_AND_FINALIZE = codec("(bytes32,bytes32,bytes,bytes,address,bytes,bytes)")


class NotVerifiedError(AdytonError):
    """The outcome is not what it must be."""

    code = "demo.not_verified"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was checked of a result; every pair that must be equal is."""

    value: int
    expected: int
    digest: Bytes32
    enclave_signer: Address
    enclave_challenge: Address
    worker: Address

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "value": self.value,
            "expected": self.expected,
            "digest": self.digest,
            "enclaveSigner": self.enclave_signer,
            "enclaveChallenge": self.enclave_challenge,
            "worker": self.worker,
        }


def verify_confidential(
    network: Network, purchase: Purchase, archive: Path, expected: int, challenge: Address
) -> Verified:
    """Check a confidential task's outcome.

    Args:
        network: where.
        purchase: the task that was bought.
        archive: the decrypted result.
        expected: the value computed independently.
        challenge: the enclave challenge that the SMS made for the task.

    Raises:
        NotVerifiedError: value, digest, status or signature is not right; says which.
    """
    rpc = Rpc(network.rpc)
    content = read_member(archive, "result.json")
    digest = Bytes32("0x" + hashlib.sha256(content).hexdigest())
    task = Hub(rpc, parse_address(network.hub)).view_task(_known(purchase.task_id))
    if task is None or task.status is not TaskStatus.COMPLETED:
        raise NotVerifiedError(f"the task is not COMPLETED on chain: {task.status.name if task else 'unknown'}")
    if task.result_digest != digest:
        raise NotVerifiedError(f"the result's digest is {digest}, the chain says {task.result_digest}")
    value = int(json.loads(content)["value"])
    if value != expected:
        raise NotVerifiedError(f"the result is {value}, computed independently it is {expected}")
    worker, named, signature = _contribution(rpc, purchase)
    signer = recover_personal(word_bytes(contribution_message(_known(purchase.task_id), worker, digest)), signature)
    if not signer == named == challenge:
        raise NotVerifiedError(f"signed by {signer}, the chain was told {named}, the SMS made {challenge}")
    return Verified(value, expected, digest, signer, challenge, worker)


def verify_standard(network: Network, task_id: Bytes32, archive: Path, member: str) -> dict[str, str]:
    """Check that a standard task's result is the one whose digest is on chain.

    Raises:
        NotVerifiedError: it is not.
    """
    content = read_member(archive, member)
    digest = "0x" + hashlib.sha256(content).hexdigest()
    task = Hub(Rpc(network.rpc), parse_address(network.hub)).view_task(task_id)
    if task is None or task.result_digest != digest:
        raise NotVerifiedError(f"the standard task's result has digest {digest}, not the one on chain")
    return {"taskid": task_id, "digest": digest, "text": content.decode().strip()}


def read_member(archive: Path, name: str) -> bytes:
    """One file of a result archive.

    Raises:
        NotVerifiedError: no archive, no such file, or one that is too large.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            if opened.getinfo(name).file_size > _LARGEST_RESULT:
                raise NotVerifiedError(f"{name} in {archive} is larger than {_LARGEST_RESULT} bytes")
            return opened.read(name)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise NotVerifiedError(f"{archive} is no result archive with {name}") from error


def _contribution(rpc: Rpc, purchase: Purchase) -> tuple[Address, Address, bytes]:
    """Worker, enclave challenge and enclave signature of the transaction that completed the task."""
    transaction = rpc.call("eth_getTransactionByHash", purchase.logs["completed"].transaction_hash)
    values = _CONTRIBUTE_AND_FINALIZE.decode(from_hex(transaction["input"])[4:], 0)
    return parse_address(transaction["from"]), parse_address(values[4]), bytes(values[5])


def _known(task_id: Bytes32 | None) -> Bytes32:
    if task_id is None:
        raise NotVerifiedError("no purchase was seen on the chain")
    return Bytes32(to_hex(word_bytes(task_id)))
