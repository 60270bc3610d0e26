"""What stage enclaves told this worker, by task: causes of failure and the completed ``computed.json``.

Every call is checked against the enclave challenge of the authorization that this worker holds for the task
(SMS reference 6.3 and 7.6).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from adyton.base.errors import InputError
from adyton.base.files import write_atomic
from adyton.base.log import get_logger
from adyton.base.types import ZERO_BYTES32, Address, Bytes32, parse_address, parse_bytes32, word_bytes
from adyton.chain.hashing import contribution_message
from adyton.chain.models import TaskStatus
from adyton.chain.wallet import SignatureError, recover_personal
from adyton.compute.client import ComputedFile
from adyton.compute.wire import ExitCause, Stage, stage_message
from adyton.workerpool.causes import Cause
from adyton.workerpool.wire import WorkerpoolAuthorization
from adyton.workerpool.worker.folders import TaskFolders

_log = get_logger("worker.stages")


class Verdict(Enum):
    """What becomes of a stage's call; the value is the HTTP status."""

    STORED = 200
    ALREADY = 208
    MALFORMED = 400
    REFUSED = 401
    UNKNOWN_TASK = 404


@dataclass(slots=True)
class _Entry:
    authorization: WorkerpoolAuthorization
    folders: TaskFolders
    is_tee: bool
    causes: dict[Stage, list[ExitCause]] = field(default_factory=dict)


class StageBoard:
    """Tasks whose stages may call.

    Args:
        chain_status: the task's status on chain, None when it is not initialized.
    """

    def __init__(self, chain_status: Callable[[Bytes32], TaskStatus | None]) -> None:
        self._chain_status = chain_status
        self._lock = threading.Lock()
        self._entries: dict[Bytes32, _Entry] = {}

    def open(self, authorization: WorkerpoolAuthorization, folders: TaskFolders, *, is_tee: bool) -> None:
        """Take calls for a task from now on; what an earlier attempt's stages told is forgotten."""
        with self._lock:
            self._entries[parse_bytes32(authorization.chain_task_id)] = _Entry(authorization, folders, is_tee)

    def close(self, task_id: Bytes32) -> None:
        """Take no more calls for a task."""
        with self._lock:
            self._entries.pop(task_id, None)

    def causes(self, task_id: Bytes32, stage: Stage) -> list[Cause]:
        """What a stage reported, as official causes; unknown ones are left out."""
        with self._lock:
            entry = self._entries.get(task_id)
            reported = [] if entry is None else entry.causes.get(stage, [])
        return [Cause(each.cause) for each in reported if each.cause in Cause.__members__]

    def report_causes(self, task_id: Bytes32, stage: Stage, causes: list[ExitCause], signature: str) -> Verdict:
        """Take a stage's reasons for its failure, once."""
        entry = self._entry(task_id)
        if entry is None:
            return Verdict.UNKNOWN_TASK
        if not _is_signed(entry.authorization, task_id, signature):
            return Verdict.REFUSED
        if not causes:
            return Verdict.MALFORMED
        with self._lock:
            if stage in entry.causes:
                return Verdict.ALREADY
            entry.causes[stage] = causes
        _log.warning("stage failed", task=task_id, stage=stage.value, causes=[each.cause for each in causes])
        return Verdict.STORED

    def report_computed(self, task_id: Bytes32, computed: ComputedFile, signature: str) -> Verdict:
        """Take the completed ``computed.json``, once, for an active enclave task."""
        entry = self._entry(task_id)
        if entry is None:
            return Verdict.UNKNOWN_TASK
        if not _is_signed(entry.authorization, task_id, signature):
            return Verdict.REFUSED
        if computed.task_id != task_id:
            return Verdict.MALFORMED
        complete = entry.is_tee and self._is_complete(entry.authorization, computed)
        if not complete or self._chain_status(task_id) is not TaskStatus.ACTIVE:
            return Verdict.REFUSED
        with self._lock:
            if entry.folders.computed.exists():
                return Verdict.REFUSED
            write_atomic(entry.folders.computed, json.dumps(computed.to_json()).encode())
        return Verdict.STORED

    def _entry(self, task_id: Bytes32) -> _Entry | None:
        with self._lock:
            return self._entries.get(task_id)

    @staticmethod
    def _is_complete(authorization: WorkerpoolAuthorization, computed: ComputedFile) -> bool:
        try:
            digest = parse_bytes32(computed.result_digest)
        except InputError:
            return False
        return digest != ZERO_BYTES32 and is_enclave_signature(authorization, digest, computed.enclave_signature)


def is_enclave_signature(authorization: WorkerpoolAuthorization, digest: Bytes32, signature: str) -> bool:
    """Whether the enclave challenge key signed this result of this worker for this task."""
    worker, challenge = parse_address(authorization.worker_wallet), parse_address(authorization.enclave_challenge)
    message = contribution_message(parse_bytes32(authorization.chain_task_id), worker, digest)
    return _recovers_to(challenge, message, signature)


def _is_signed(authorization: WorkerpoolAuthorization, task_id: Bytes32, signature: str) -> bool:
    message = stage_message(task_id, parse_address(authorization.worker_wallet))
    return _recovers_to(parse_address(authorization.enclave_challenge), message, signature)


def _recovers_to(signer: Address, message: Bytes32, signature: str) -> bool:
    try:
        return recover_personal(word_bytes(message), signature) == signer
    except SignatureError:
        return False
