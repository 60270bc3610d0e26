"""How a stage speaks to the worker that started it: signed with the task's enclave challenge key.

The worker's address is host-set and not trusted: it learns that the stage failed and why, never an input or a key.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Final

from adyton.base.errors import AdytonError, InputError, UnavailableError
from adyton.base.types import Address, Bytes32, parse_address, parse_bytes32, to_hex
from adyton.chain.wallet import Wallet
from adyton.compute.computed import ComputedFile
from adyton.compute.wire import MAX_CAUSES, MAX_MESSAGE_CHARS, ExitCause, Stage, stage_message
from adyton.web.client import HttpClient

DEFAULT_WORKER: Final = "worker:13100"
_ATTEMPTS: Final = 3
_PAUSE_S: Final = 0.2


class IdentityError(AdytonError):
    """The variables that let the stage sign are missing or malformed.

    Attributes:
        part: ``worker`` or ``key``: which of the two.
        missing: absent rather than malformed.
    """

    code = "compute.identity"

    def __init__(self, message: str, *, part: str, missing: bool) -> None:
        super().__init__(message)
        self.part = part
        self.missing = missing


class StageIdentity:
    """Who the stage is for one task: the worker it runs for, and the enclave challenge key.

    Args:
        task_id: the task.
        worker: wallet of the worker that the session was made for.
        wallet: the enclave challenge key.
    """

    __slots__ = ("task_id", "wallet", "worker")

    def __init__(self, task_id: Bytes32, worker: Address, wallet: Wallet) -> None:
        self.task_id = task_id
        self.worker = worker
        self.wallet = wallet

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> StageIdentity:
        """Read ``IEXEC_TASK_ID``, ``SIGN_WORKER_ADDRESS`` and ``SIGN_TEE_CHALLENGE_PRIVATE_KEY``.

        Raises:
            IdentityError: one of the latter two is missing or malformed.
            InputError: the task id is malformed.
        """
        task_id = parse_bytes32(environment.get("IEXEC_TASK_ID", ""))
        worker = environment.get("SIGN_WORKER_ADDRESS", "")
        key = environment.get("SIGN_TEE_CHALLENGE_PRIVATE_KEY", "")
        for value, part, name in ((worker, "worker", "SIGN_WORKER_ADDRESS"), (key, "key", "the challenge key")):
            if not value:
                raise IdentityError(f"{name} is missing", part=part, missing=True)
        try:
            return cls(task_id, parse_address(worker), Wallet.from_hex(key))
        except InputError as error:
            part = "key" if error.code != "input.address" else "worker"
            raise IdentityError(f"the {part} is malformed", part=part, missing=False) from None

    def authorization(self) -> str:
        """The ``Authorization`` header of every call to the worker."""
        return to_hex(self.wallet.sign_personal(bytes.fromhex(stage_message(self.task_id, self.worker)[2:])))


class WorkerReports:
    """Calls to the worker's stage routes, a few attempts each.

    Args:
        host: ``host:port`` of the worker.
        stage: which of the two stages speaks.
        identity: signs the calls.
    """

    def __init__(self, host: str, stage: Stage, identity: StageIdentity) -> None:
        self._client = HttpClient(f"http://{host}", "worker")
        self._stage = stage
        self._identity = identity

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def exit_causes(self, causes: list[ExitCause]) -> None:
        """Report why the stage failed; a stage that was already reported counts as done (208).

        Raises:
            UnavailableError, AnswerError: the worker does not take it.
        """
        body = [{"cause": c.cause, "message": (c.message or "")[:MAX_MESSAGE_CHARS]} for c in causes[:MAX_CAUSES]]
        path = f"/compute/{self._stage.value}/{self._identity.task_id}/exit-causes"
        self._post(path, json.dumps(body).encode(), (200, 208))

    def computed(self, computed: ComputedFile) -> None:
        """Hand over the completed ``computed.json``.

        Raises:
            UnavailableError, AnswerError: the worker does not take it.
        """
        path = f"/compute/{self._stage.value}/{self._identity.task_id}/computed"
        self._post(path, json.dumps(computed.to_json()).encode(), (200,))

    def _post(self, path: str, body: bytes, expect: tuple[int, ...]) -> None:
        headers = {"Authorization": self._identity.authorization(), "Content-Type": "application/json"}
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._client.request("POST", path, content=body, headers=headers, expect=expect)
            except UnavailableError:
                if attempt == _ATTEMPTS:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return


def worker_host(environment: Mapping[str, str]) -> str:
    """``host:port`` of the worker; official images disagree on the variable's name, so both are read."""
    return environment.get("WORKER_HOST_ENV_VAR") or environment.get("WORKER_HOST") or DEFAULT_WORKER
