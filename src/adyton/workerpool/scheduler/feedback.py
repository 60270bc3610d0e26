"""What a requester may see of its task beside its status: the application's output (pool reference 3.3)."""

from __future__ import annotations

from adyton.base.errors import AdytonError
from adyton.base.types import Address, Bytes32, parse_address
from adyton.chain.eip712 import TypedData
from adyton.chain.wallet import SignatureError, recover_digest
from adyton.workerpool.scheduler.repo import SchedulerRepo
from adyton.workerpool.scheduler.state import PoolState
from adyton.workerpool.scheduler.tokens import Challenges


class LogAccessError(AdytonError):
    """A requester may not read these logs.

    Attributes:
        status: HTTP status.
    """

    code = "scheduler.logs.refused"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Feedback:
    """Gives logs to those who bought the task.

    Args:
        state: journals.
        repo: the logs.
        chain_id: the chain's id, which the challenge names.
        challenges: one for each requester, good for any number of reads.
    """

    def __init__(self, state: PoolState, repo: SchedulerRepo, chain_id: int, challenges: Challenges) -> None:
        self._state = state
        self._repo = repo
        self._chain_id = chain_id
        self._challenges = challenges

    def challenge(self, address: Address) -> TypedData:
        """The document that a requester signs to read logs."""
        return logs_document(self._chain_id, self._challenges.get(address))

    def logs(self, task_id: Bytes32, authorization: str) -> list[dict[str, str]]:
        """An application's output, for the deal's requester.

        Raises:
            LogAccessError: 401 for a malformed or wrong signature, 403 for somebody else, 404 when there is nothing.
        """
        parts = authorization.split("_")
        if len(parts) != 3:
            raise LogAccessError("the authorization is not hash_signature_address", 401)
        task = self._state.task(task_id)
        requester = str(task.data["requester"]) if task is not None else ""
        if parts[2].lower() != requester.lower():
            raise LogAccessError("only the requester of the deal may read its logs", 403)
        address = parse_address(requester)
        challenge = self._challenges.peek(address)
        if challenge is None or not _is_signed(address, parts[1], logs_document(self._chain_id, challenge)):
            raise LogAccessError("the signature is not over the current challenge", 401)
        found = self._repo.logs(task_id)
        if not found:
            raise LogAccessError("there are no logs", 404)
        return found


def logs_document(chain_id: int, challenge: str) -> TypedData:
    """The official EIP-712 document of the logs challenge (pool reference 3.3)."""
    return TypedData(
        types={
            "EIP712Domain": (("name", "string"), ("version", "string"), ("chainId", "uint256")),
            "Challenge": (("challenge", "string"),),
        },
        primary_type="Challenge",
        domain={"name": "iExec Core", "version": "1", "chainId": chain_id},
        message={"challenge": challenge},
    )


def _is_signed(address: Address, signature: str, document: TypedData) -> bool:
    try:
        return recover_digest(document.digest, signature) == address
    except SignatureError:
        return False
