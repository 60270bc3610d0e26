"""Who may upload which result: pure rules over what the chain and the store say (SMS reference 7.8).

Stricter than the reference where no official client can tell: a result of an enclave task always needs the enclave's
signature, whoever uploads it; the reference takes one without proof from the requester's token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from adyton.base.errors import InputError
from adyton.base.types import ZERO_ADDRESS, Address, Bytes32, parse_bytes32, word_bytes
from adyton.chain import hashing, tags
from adyton.chain.models import Contribution, ContributionStatus, Deal, Task, TaskStatus
from adyton.chain.wallet import SignatureError, recover_personal


class TokenRefusal(StrEnum):
    """Why a worker gets no upload token, in the order of the checks; logged, never sent."""

    EMPTY_PARAMS_UNAUTHORIZED = "EMPTY_PARAMS_UNAUTHORIZED"
    GET_CHAIN_TASK_FAILED = "GET_CHAIN_TASK_FAILED"
    TASK_FINAL_DEADLINE_REACHED = "TASK_FINAL_DEADLINE_REACHED"
    GET_CHAIN_DEAL_FAILED = "GET_CHAIN_DEAL_FAILED"
    NO_MATCH_ONCHAIN_TYPE = "NO_MATCH_ONCHAIN_TYPE"
    INVALID_SIGNATURE = "INVALID_SIGNATURE"


class UploadRefusal(StrEnum):
    """Why a result is not stored."""

    ALREADY_UPLOADED = "the task has a result already"
    TASK_UNKNOWN = "the task is not on the chain"
    WRONG_STATUS = "the task is not in the state in which results are uploaded"
    NO_AUTHORIZATION = "the uploader has no authorization for the task"
    ENCLAVE_SIGNATURE = "the enclave's signature over the result is not valid"
    NOT_REVEALED = "the uploader has not revealed its contribution"
    DIGEST = "the archive is not the result that was contributed"


@dataclass(frozen=True, slots=True)
class Authorization:
    """The workerpool's permission for one worker on one task, parsed."""

    task_id: Bytes32
    worker: Address
    enclave_challenge: Address
    signature: str

    @property
    def challenge(self) -> Bytes32:
        """What the workerpool owner and the worker sign."""
        return hashing.authorization_hash(self.worker, self.task_id, self.enclave_challenge)


def is_signed_by(message: Bytes32, signature: str, signer: Address) -> bool:
    """Whether ``signature`` is the EIP-191 signature of ``signer`` over 32 bytes."""
    try:
        return recover_personal(word_bytes(message), signature) == signer
    except SignatureError:
        return False


def check_token(authorization: Authorization, task: Task | None, deal: Deal | None, now: int) -> TokenRefusal | None:
    """Whether the worker may get an upload token; None when it may.

    Args:
        authorization: as sent; the worker's own signature is checked before.
        task: the chain's, None when it is not initialized.
        deal: the task's deal.
        now: Unix time, seconds.
    """
    if task is None:
        return TokenRefusal.GET_CHAIN_TASK_FAILED
    if now >= task.final_deadline:
        return TokenRefusal.TASK_FINAL_DEADLINE_REACHED
    if deal is None:
        return TokenRefusal.GET_CHAIN_DEAL_FAILED
    if (authorization.enclave_challenge != ZERO_ADDRESS) != (tags.framework(deal.tag) is not None):
        return TokenRefusal.NO_MATCH_ONCHAIN_TYPE
    if not is_signed_by(authorization.challenge, authorization.signature, deal.workerpool.owner):
        return TokenRefusal.INVALID_SIGNATURE
    return None


def check_enclave_upload(
    task: Task, task_id: Bytes32, digest: str, signature: str, authorizations: Sequence[Authorization]
) -> UploadRefusal | None:
    """Whether an enclave task's result may be stored; None when it may.

    Args:
        task: the chain's.
        task_id: its id.
        digest: result digest as uploaded.
        signature: enclave signature as uploaded.
        authorizations: those stored that the uploader may use: its own, or for the requester all of the task.
    """
    if task.status is not TaskStatus.ACTIVE:
        return UploadRefusal.WRONG_STATUS
    if not authorizations:
        return UploadRefusal.NO_AUTHORIZATION
    try:
        word = parse_bytes32(digest)
    except InputError:
        return UploadRefusal.ENCLAVE_SIGNATURE
    for each in authorizations:
        message = hashing.contribution_message(task_id, each.worker, word)
        if each.enclave_challenge != ZERO_ADDRESS and is_signed_by(message, signature, each.enclave_challenge):
            return None
    return UploadRefusal.ENCLAVE_SIGNATURE


def check_standard_upload(
    task: Task, task_id: Bytes32, contribution: Contribution, digest: Bytes32
) -> UploadRefusal | None:
    """Whether a standard task's result may be stored; None when it may.

    Args:
        task: the chain's.
        task_id: its id.
        contribution: the uploader's, of that task.
        digest: recomputed from the archive.
    """
    if task.status is not TaskStatus.REVEALING:
        return UploadRefusal.WRONG_STATUS
    if contribution.status is not ContributionStatus.PROVED:
        return UploadRefusal.NOT_REVEALED
    if contribution.result_hash != hashing.result_hash(task_id, digest):
        return UploadRefusal.DIGEST
    return None
