"""The worker's own transactions (contribute, reveal, both at once) and where the result is (pool reference 4.7)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.jsontext import parse_json
from adyton.base.types import ZERO_ADDRESS, Bytes32, from_hex, parse_address, parse_bytes32
from adyton.chain.hashing import result_hash, result_seal
from adyton.chain.rpc import Receipt
from adyton.compute.client import ComputedFile, ComputedFileError
from adyton.results.client import ResultProxyClient
from adyton.results.wire import ResultModel
from adyton.workerpool.causes import Cause
from adyton.workerpool.description import STORAGE_IPFS, TaskDescription
from adyton.workerpool.wire import ChainReceipt, StatusDetails, WorkerpoolAuthorization
from adyton.workerpool.worker.board import is_enclave_signature
from adyton.workerpool.worker.context import WorkerContext
from adyton.workerpool.worker.errors import StepError
from adyton.workerpool.worker.folders import TaskFolders
from adyton.workerpool.worker.links import callback_link, dropbox_link, ipfs_link
from adyton.workerpool.worker.prechecks import can_reveal, contribution_problem, finalization_problem

_NO_SIGNATURE: Final = bytes(32)
_LOOKS: Final = 12
_PAUSE_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Result:
    """What a worker commits to."""

    digest: Bytes32
    enclave_signature: bytes
    callback_data: str


class Contribution:
    """One task's dealings with chain and storage.

    Args:
        context: the worker's means.
        task: the task.
        folders: where its result lies.
        authorization: the pool owner's permission.
    """

    def __init__(
        self,
        context: WorkerContext,
        task: TaskDescription,
        folders: TaskFolders,
        authorization: WorkerpoolAuthorization,
    ) -> None:
        self._context = context
        self._task = task
        self._folders = folders
        self._authorization = authorization
        self._hub = context.access.hub
        self._worker = context.access.wallet.address

    def check(self) -> None:
        """Whether the worker can still contribute.

        Raises:
            StepError: with the official cause.
        """
        task_id = self._task.task_id
        try:
            task = self._hub.view_task(task_id)
            mine = self._hub.view_contribution(task_id, self._worker)
            account = self._hub.view_account(self._worker)
        except AdytonError as error:
            raise StepError(Cause.CHAIN_UNREACHABLE, error.message) from error
        problem = contribution_problem(self._task.deal, task, mine, account, self._context.clock())
        if problem is not None:
            raise StepError(problem, f"worker {self._worker} cannot contribute to {task_id}")

    def contribute(self) -> StatusDetails:
        """Commit to the result.

        Raises:
            StepError: with the official cause.
        """
        self.check()
        result = self._result()
        task_id = self._task.task_id
        calldata = self._hub.contribute(
            task_id,
            result_hash(task_id, result.digest),
            result_seal(self._worker, task_id, result.digest),
            parse_address(self._authorization.enclave_challenge),
            result.enclave_signature,
            from_hex(self._authorization.signature.value),
        )
        return StatusDetails(chain_receipt=self._send(calldata))

    def reveal(self, consensus_block: int | None) -> StatusDetails:
        """Show the digest.

        Raises:
            StepError: with the official cause.
        """
        if not consensus_block:
            raise StepError(Cause.CONSENSUS_BLOCK_MISSING, "the scheduler named no block")
        digest = self._result().digest
        self._wait_for_block(consensus_block)
        task_id = self._task.task_id
        for _ in range(_LOOKS):
            task = self._hub.view_task(task_id)
            mine = self._hub.view_contribution(task_id, self._worker)
            if can_reveal(task, mine, task_id=task_id, worker=self._worker, digest=digest, now=self._context.clock()):
                return StatusDetails(chain_receipt=self._send(self._hub.reveal(task_id, digest)))
            time.sleep(_PAUSE_S)
        raise StepError(Cause.CANNOT_REVEAL, "the chain does not take this worker's reveal")

    def contribute_and_finalize(self) -> StatusDetails:
        """Commit, reveal and finalize in one transaction.

        Raises:
            StepError: with the official cause.
        """
        self.check()
        task_id = self._task.task_id
        task = self._hub.view_task(task_id)
        if task is None:
            raise StepError(Cause.TASK_NOT_ACTIVE, "the task is gone")
        problem = finalization_problem(self._task.deal, task)
        if problem is not None:
            raise StepError(problem, f"task {task_id} cannot be finalized by a contribution")
        result = self._result()
        link = self.upload()
        calldata = self._hub.contribute_and_finalize(
            task_id,
            result.digest,
            link.encode(),
            from_hex(result.callback_data) if result.callback_data else b"",
            parse_address(self._authorization.enclave_challenge),
            result.enclave_signature,
            from_hex(self._authorization.signature.value),
        )
        receipt = self._send(calldata)
        return StatusDetails(chain_receipt=receipt, result_link=link, chain_callback_data=result.callback_data or None)

    def upload(self) -> str:
        """Store the result of a standard task, or find where an enclave stored it; the link for the chain.

        Raises:
            StepError: ``RESULT_LINK_MISSING``.
        """
        deal = self._task.deal
        if deal.is_callback:
            return callback_link(deal.deal.callback)
        provider = deal.params.result_storage_provider or STORAGE_IPFS
        if deal.is_tee and provider == "dropbox":
            return dropbox_link(self._task.task_id)
        if provider != STORAGE_IPFS:
            raise StepError(Cause.RESULT_LINK_MISSING, f"standard tasks cannot store with {provider}")
        proxy = ResultProxyClient(deal.params.result_storage_proxy or self._context.proxy_url)
        try:
            cid = proxy.ipfs_hash(self._task.task_id)
            if cid is None and not deal.is_tee:
                cid = self._upload_archive(proxy)
        except (AdytonError, OSError) as error:
            raise StepError(Cause.RESULT_LINK_MISSING, f"the result is not stored: {error}") from error
        finally:
            proxy.close()
        if not cid:
            raise StepError(Cause.RESULT_LINK_MISSING, "the result proxy has no result of this task")
        return ipfs_link(cid)

    def callback_data(self) -> str | None:
        """What a callback deal delivers, None for others."""
        return self._result().callback_data or None

    def _upload_archive(self, proxy: ResultProxyClient) -> str:
        token = proxy.token(self._authorization, self._context.access.wallet)
        model = ResultModel(
            chain_task_id=self._task.task_id,
            deal_id=self._task.deal.deal_id,
            task_index=self._task.index,
            zip=self._folders.archive.read_bytes(),
            determinist_hash=self._result().digest,
        )
        return proxy.upload(token, model)

    def _result(self) -> Result:
        try:
            computed = ComputedFile.parse(self._folders.computed.read_bytes())
            digest = parse_bytes32(computed.result_digest)
        except (OSError, ComputedFileError, AdytonError) as error:
            raise StepError(Cause.DETERMINISM_HASH_NOT_FOUND, "there is no result digest") from error
        callback = computed.callback_data if self._task.deal.is_callback else ""
        if self._authorization.enclave_challenge == ZERO_ADDRESS:
            return Result(digest, _NO_SIGNATURE, callback)
        if not is_enclave_signature(self._authorization, digest, computed.enclave_signature):
            raise StepError(Cause.ENCLAVE_SIGNATURE_NOT_FOUND, "the result is not signed by the task's enclave")
        return Result(digest, from_hex(computed.enclave_signature), callback)

    def _send(self, calldata: bytes) -> ChainReceipt:
        try:
            receipt: Receipt = self._context.access.sender.send(self._hub.address, calldata)
        except AdytonError as error:
            raise StepError(Cause.CHAIN_RECEIPT_NOT_VALID, error.message) from error
        return ChainReceipt(block_number=receipt.block_number, tx_hash=receipt.transaction_hash)

    def _wait_for_block(self, number: int) -> None:
        for _ in range(_LOOKS * 4):
            try:
                if self._context.access.rpc.block_number() >= number:
                    return
            except UnavailableError as error:
                raise StepError(Cause.CHAIN_UNREACHABLE, error.message) from error
            time.sleep(_PAUSE_S)
        raise StepError(Cause.BLOCK_NOT_REACHED, f"block {number} was not reached")


def has_result(folders: TaskFolders, *, is_tee: bool) -> bool:
    """Whether a restarted worker still has everything that a contribution needs."""
    if not folders.computed.is_file() or not (is_tee or folders.archive.is_file()):
        return False
    try:
        return bool(parse_json(folders.computed.read_bytes()).get("result-digest"))
    except (OSError, ValueError, AttributeError):
        return False
