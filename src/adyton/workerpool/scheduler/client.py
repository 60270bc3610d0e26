"""Typed calls to a scheduler: what workers use, and the public reads for everyone else."""

from __future__ import annotations

import threading
from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.secret import Secret
from adyton.base.types import Address, Bytes32, to_hex
from adyton.chain.wallet import Wallet
from adyton.web.client import AnswerError, HttpClient
from adyton.workerpool.actions import Action
from adyton.workerpool.wire import (
    LONG_POLL_S,
    Assignment,
    PublicConfiguration,
    Registration,
    StatusUpdate,
    TaskNotification,
    is_login_challenge,
    login_message,
)

_LIST: Final = TypeAdapter(list[TaskNotification])
ALREADY_REPORTED: Final = 208

M = TypeVar("M", bound=BaseModel)


class LoginError(AdytonError):
    """The scheduler does not admit the worker, or asks it to sign something else than a login."""

    code = "scheduler.login"


class SchedulerClient:
    """The public routes.

    Args:
        url: the scheduler.
    """

    def __init__(self, url: str) -> None:
        self._http = HttpClient(url, "scheduler", timeout_s=10)

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def configuration(self) -> PublicConfiguration:
        """What a worker must know first."""
        return _checked(PublicConfiguration, self._http.json("GET", "/workers/config"))

    def task(self, task_id: Bytes32) -> dict[str, Any] | None:
        """A task, or None when it is not one of this pool."""
        answer = self._http.request("GET", f"/tasks/{task_id}", expect=(200, 404))
        return None if answer.status_code == 404 else dict(answer.json())

    def metrics(self) -> dict[str, Any]:
        """The pool in numbers."""
        return dict(self._http.json("GET", "/metrics"))


class WorkerSession:
    """A worker's calls; logs in by itself, also again when the scheduler forgot the token.

    Args:
        url: the scheduler.
        pool: the workerpool that the worker wants to serve; a scheduler of another one gets no signature.
        wallet: the worker's account.
    """

    def __init__(self, url: str, pool: Address, wallet: Wallet) -> None:
        self._http = HttpClient(url, "scheduler", timeout_s=30)
        self._poll = HttpClient(url, "scheduler", timeout_s=LONG_POLL_S + 10)
        self._pool = pool
        self._wallet = wallet
        self._lock = threading.Lock()
        self._token: Secret[str] | None = None
        self.logins = 0  # grows with each login: the scheduler may have forgotten what it told us

    def close(self) -> None:
        """Release the connections."""
        self._http.close()
        self._poll.close()

    def register(self, registration: Registration) -> dict[str, Any]:
        """Introduce the worker."""
        body = registration.model_dump(mode="json", by_alias=True)
        return dict(self._call("POST", "/workers/register", json=body).json())

    def ping(self) -> str | None:
        """Say that the worker lives; the hash of the configuration, or None when it has to register."""
        answer = self._call("POST", "/workers/ping", expect=(200, 404))
        return None if answer.status_code == 404 else str(answer.text)

    def computing(self) -> list[str]:
        """Tasks that the scheduler believes the worker computes."""
        return list(self._call("GET", "/workers/computing").json())

    def available(self, block_number: int, wait_s: float = LONG_POLL_S) -> Assignment | None:
        """Wait for a task; None when there was none in time."""
        path = f"/replicates/available?blockNumber={block_number}&wait={wait_s:g}"
        answer = self._call("GET", path, long=True)
        return None if answer.status_code == 204 else _checked(Assignment, answer.json())

    def notifications(self, after: int, wait_s: float = LONG_POLL_S) -> list[TaskNotification]:
        """Acknowledge everything up to ``after`` and wait for more; empty when there was none in time."""
        answer = self._call("GET", f"/replicates/notifications?after={after}&wait={wait_s:g}", long=True)
        return _list(answer.json())

    def interrupted(self, block_number: int) -> list[TaskNotification]:
        """What is left to do after a restart or a new login."""
        return _list(self._call("GET", f"/replicates/interrupted?blockNumber={block_number}").json())

    def update_status(self, task_id: Bytes32, update: StatusUpdate) -> tuple[int, Action | None]:
        """Report a status; HTTP status (200 taken, 208 known already, 202 refused) and next action."""
        body = update.model_dump(mode="json", by_alias=True, exclude_none=True)
        path = f"/replicates/{task_id}/updateStatus"
        answer = self._call("POST", path, json=body, expect=(200, 202, ALREADY_REPORTED))
        action = answer.json()
        return answer.status_code, None if action is None else Action(action)

    def _call(
        self,
        method: str,
        path: str,
        *,
        long: bool = False,
        expect: tuple[int, ...] = (200, 204),
        **options: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401  # the HTTP library's answer
        client = self._poll if long else self._http
        for attempt in (1, 2):
            token = self._login()
            headers = {"Authorization": f"Bearer {token.reveal()}"}
            answer = client.request(method, path, headers=headers, expect=(*expect, 401, 503), **options)
            if answer.status_code == 503:
                raise UnavailableError("the scheduler has no connection to the chain", code="scheduler.chain_down")
            if answer.status_code != 401:
                return answer
            self._forget(token)
            if attempt == 2:
                break
        raise LoginError("the scheduler does not take the token it gave")

    def _login(self) -> Secret[str]:
        with self._lock:  # one login at a time, whoever needs it
            if self._token is not None:
                return self._token
            address = self._wallet.address
            path = f"?walletAddress={address}"
            try:
                challenge = self._http.request("GET", "/workers/challenge" + path, expect=(200,)).text
                if not is_login_challenge(challenge, self._pool, address):
                    raise LoginError(f"the scheduler is not one of pool {self._pool}")
                signature = to_hex(self._wallet.sign_personal(login_message(challenge)))
                answer = self._http.request("POST", "/workers/login" + path, json={"value": signature}, expect=(200,))
            except AnswerError as error:
                raise LoginError(f"the scheduler does not admit {address}: {error.status}") from error
            self._token = Secret(answer.text)
            self.logins += 1
            return self._token

    def _forget(self, token: Secret[str]) -> None:
        with self._lock:
            if self._token is token:
                self._token = None


def _list(document: Any) -> list[TaskNotification]:  # noqa: ANN401
    try:
        return _LIST.validate_python(document)
    except ValidationError as error:
        raise UnavailableError("the scheduler's answer is malformed") from error


def _checked(model: type[M], document: Any) -> M:  # noqa: ANN401
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise UnavailableError("the scheduler's answer is malformed") from error
