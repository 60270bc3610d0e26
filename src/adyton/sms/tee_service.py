"""The use cases of tasks: make an enclave challenge, open a session.

Each checks, acts and records, in this order; what is refused is recorded, too. Nothing is released whose release
could not be recorded.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Final

from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError
from adyton.base.log import get_logger, short_hash
from adyton.base.types import Address, parse_address
from adyton.sms.access.authorize import Authorized, Authorizer, NotAuthorizedError, check_worker
from adyton.sms.access.signatures import Credential
from adyton.sms.audit import AuditLog
from adyton.sms.errors import DatabaseRowError, SessionRefusedError, TooManyRequestsError
from adyton.sms.opening.bulk import Files
from adyton.sms.opening.session_maker import SessionMaker, SessionRequest, new_session_id
from adyton.sms.opening.session_stores import SessionStore, SessionStoreError
from adyton.sms.opening.task import describe, read_secrets, with_bulk
from adyton.sms.store.storage import Challenge, Storage
from adyton.sms.wire import SessionFailure, WorkerpoolAuthorization

_PURGE_EVERY_S: Final = 3600

_log = get_logger("sms")


class TeeService:
    """Makes enclave challenges and opens sessions.

    Args:
        repo: database.
        authorizer: checks 1 to 6.
        audit: record of what happened.
        files: where the lists of bulk tasks come from.
        maker: session maker of the service's framework.
        store: where sessions go.
        max_sessions_per_task: sessions of one task, over all its workers.
        challenge_retention_s: seconds a challenge is kept after its task's final deadline.
        clock: source of time.
    """

    def __init__(
        self,
        repo: Storage,
        authorizer: Authorizer,
        audit: AuditLog,
        files: Files,
        *,
        maker: SessionMaker,
        store: SessionStore,
        max_sessions_per_task: int,
        challenge_retention_s: int,
        clock: Clock = utc_now,
    ) -> None:
        self._repo = repo
        self._view = authorizer.view
        self._authorizer = authorizer
        self._audit = audit
        self._files = files
        self._maker = maker
        self._store = store
        self._max_sessions = max_sessions_per_task
        self._retention_s = challenge_retention_s
        self._clock = clock
        self._purge_lock = threading.Lock()
        self._next_purge = 0.0

    def challenge(self, task_id: str, credential: Credential) -> Address:
        """The enclave challenge of a task; made on the first call.

        Raises:
            NotAuthorizedError: checks 1 to 6.
            TooManyRequestsError: the client has asked too many contract accounts.
            StoreError, DatabaseRowError: the database failed.
        """
        self._purge()
        try:
            authorized = self._authorizer.challenge(task_id, credential, self._clock())
        except NotAuthorizedError as error:
            self._audit.refused("challenge.refused", task=task_id[:66], code=error.reason)
            raise
        task = authorized.task
        found, created = self._repo.get_or_create_challenge(task.task_id, task.final_deadline)
        if created:
            self._audit.released("challenge.created", task=task.task_id, address=found.address)
        return found.address

    def open_session(self, authorization: WorkerpoolAuthorization, credential: Credential) -> str:
        """Open a session for a worker and return its name.

        Raises:
            SessionRefusedError: with the official reason, in the official order of checks.
            TooManyRequestsError: as :meth:`challenge`.
        """
        task_id = authorization.chain_task_id[:66]
        try:
            return self._open_session(authorization, credential)
        except SessionRefusedError as error:
            _log.warning("session refused", task=task_id, failure=error.failure, detail=error.message)
            self._audit.refused("session.refused", task=task_id, code=error.failure)
            raise
        except TooManyRequestsError:
            raise
        except AdytonError as error:  # check 18
            _log.error("session failed", task=task_id, code=error.code, detail=error.message)
            self._audit.refused("session.refused", task=task_id, code=error.code)
            raise SessionRefusedError(SessionFailure.SECURE_SESSION_GENERATION_FAILED, error.code) from error

    def _open_session(self, authorization: WorkerpoolAuthorization, credential: Credential) -> str:
        check_worker(authorization, credential.signature)  # 0
        try:  # 1 to 6
            authorized = self._authorizer.session(authorization, credential.client, self._clock())
        except NotAuthorizedError as error:
            raise SessionRefusedError(SessionFailure.not_authorized(error.reason), error.message) from error
        description = describe(self._view, authorized)  # 7
        plan = self._maker.plan(description)  # 8, 9
        challenge = self._check_challenge(authorization, authorized)  # 12
        description = with_bulk(self._view, self._files, description)
        worker = parse_address(authorization.worker_wallet)
        found = read_secrets(self._repo.get, description, worker, challenge.private_key)
        session_id = new_session_id(authorized.task.task_id)
        document = self._maker.document(plan, SessionRequest(session_id, description, worker, found))  # 13 to 16
        line = self._audit.line(
            "session.released",
            task=authorized.task.task_id,
            deal=authorized.deal.deal_id,
            worker=worker,
            session=hashlib.sha256(session_id.encode()).hexdigest(),
            services=",".join(service["name"] for service in document["services"]),
        )
        head = self._repo.count_session(authorized.task.task_id, self._max_sessions, line)
        if head is None:
            raise SessionRefusedError(
                SessionFailure.SECURE_SESSION_GENERATION_FAILED,
                f"the task has had its {self._max_sessions} sessions",
            )
        try:  # 17
            self._store.create(self._maker.render(document))
        except SessionStoreError as error:
            raise SessionRefusedError(SessionFailure.SECURE_SESSION_STORAGE_CALL_FAILED, error.message) from error
        _log.info("session opened", task=authorized.task.task_id, session=short_hash(session_id), audit=head)
        return session_id

    def _check_challenge(self, authorization: WorkerpoolAuthorization, authorized: Authorized) -> Challenge:
        if not authorization.worker_wallet:
            raise SessionRefusedError(SessionFailure.GET_SIGNATURE_TOKENS_FAILED_EMPTY_WORKER_ADDRESS)
        if not authorization.enclave_challenge:
            raise SessionRefusedError(SessionFailure.GET_SIGNATURE_TOKENS_FAILED_EMPTY_PUBLIC_ENCLAVE_CHALLENGE)
        try:
            stored = self._repo.challenge(authorized.task.task_id)
        except DatabaseRowError as error:
            raise SessionRefusedError(
                SessionFailure.GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CREDENTIALS, error.message
            ) from error
        if stored is None:
            raise SessionRefusedError(SessionFailure.GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CHALLENGE)
        # Ours: an authorization over another key than the one the enclaves get is over another execution. The
        # official service lets it pass, and the mismatch shows only when the chain refuses the finished result.
        if stored.address.lower() != authorization.enclave_challenge.lower():
            raise SessionRefusedError(
                SessionFailure.EXECUTION_NOT_AUTHORIZED_INVALID_SIGNATURE,
                "the workerpool authorized another enclave challenge than this service's",
            )
        return stored

    def _purge(self) -> None:
        now = self._clock().timestamp()
        with self._purge_lock:
            if now < self._next_purge:
                return
            self._next_purge = now + _PURGE_EVERY_S
        gone = self._repo.purge_challenges(int(now) - self._retention_s)
        if gone:
            _log.info("challenges purged", count=gone)
