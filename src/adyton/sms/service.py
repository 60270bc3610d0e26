"""The use cases: store a secret, make an enclave challenge, open a session.

Each checks, acts and records, in this order; what is refused is recorded, too. Nothing is released whose release
could not be recorded.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError, InputError
from adyton.base.log import get_logger, short_hash
from adyton.base.secret import Secret
from adyton.base.types import Address, Bytes32, parse_address
from adyton.chain.contracts import AssetKind
from adyton.sms import recipes
from adyton.sms.audit import AuditLog
from adyton.sms.authorize import (
    Authorized,
    NotAuthorizedError,
    Rules,
    authorize_challenge,
    authorize_session,
    check_asset_owner,
    check_fresh,
    check_signer,
    check_worker,
)
from adyton.sms.chain_view import ChainView
from adyton.sms.errors import (
    DatabaseRowError,
    NotAllowedError,
    SecretNameError,
    SecretSizeError,
    SessionRefusedError,
)
from adyton.sms.repo import Challenge, Repo
from adyton.sms.session_maker import SessionMaker, SessionRequest, new_session_id, to_yaml
from adyton.sms.sessions import SessionStore, SessionStoreError
from adyton.sms.tables import SecretKey
from adyton.sms.task import describe, read_secrets
from adyton.sms.wire import (
    BAD_KEY_TEXT,
    MAX_SECRET_BYTES,
    TOO_LARGE_TEXT,
    SessionFailure,
    WorkerpoolAuthorization,
)

MAX_WEB2_NAME: Final = 255  # characters; the official database's column
_REQUESTER_KEY = re.compile(r"[0-9A-Za-z\-_]{1,64}")
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_ALL_KINDS: Final = frozenset(AssetKind)
_PURGE_EVERY_S: Final = 3600

_log = get_logger("sms")


@dataclass(frozen=True, slots=True)
class Upload:
    """A value as it came in: its text and its size in bytes."""

    value: Secret[str]
    size: int


class SecretService:
    """Stores owners' secrets.

    Args:
        repo: database.
        view: chain.
        audit: record of what happened.
        rules: what this service accepts.
        clock: source of time.
    """

    def __init__(self, repo: Repo, view: ChainView, audit: AuditLog, rules: Rules, *, clock: Clock = utc_now) -> None:
        self._repo = repo
        self._view = view
        self._audit = audit
        self._rules = rules
        self._clock = clock

    def exists(self, key: SecretKey) -> bool:
        """Whether a secret is stored.

        Raises:
            StoreError: the database failed.
        """
        return _ADDRESS.fullmatch(key.owner) is not None and self._repo.exists(key)

    def exists_requester(self, requester: str, key: str) -> bool:
        """Whether a requester secret is stored.

        Raises:
            SecretNameError: malformed key.
            StoreError: the database failed.
        """
        _check_key(key)
        return self.exists(SecretKey.requester(requester, key))

    def push_web3(self, address: str, upload: Upload, signature: str) -> None:
        """Store the secret of a registered asset for ever.

        Raises:
            NotAllowedError: not signed by the asset's owner, or no registered asset.
            SecretSizeError, SecretExistsError: as named.
            UnavailableError: chain or database failed.
        """
        key = SecretKey.web3(address)
        challenge = self._challenge(key, lambda: recipes.web3_challenge(address, upload.value.reveal()))
        self._check_owner(key, challenge, signature, address, _ALL_KINDS)
        self._create(key, upload, signature)

    def push_app(self, app: str, upload: Upload, signature: str) -> None:
        """Store the developer secret of a registered app for ever.

        Raises:
            NotAllowedError, SecretSizeError, SecretExistsError, UnavailableError: as :meth:`push_web3`.
        """
        key = SecretKey.app(app)
        challenge = self._challenge(key, lambda: recipes.app_challenge(app, upload.value.reveal()))
        self._check_owner(key, challenge, signature, app, frozenset({AssetKind.APP}))
        self._create(key, upload, signature)

    def push_requester(self, requester: str, name: str, upload: Upload, signature: str) -> None:
        """Store a named requester secret for ever; the signature is checked before the name.

        Raises:
            SecretNameError: malformed name.
            NotAllowedError, SecretSizeError, SecretExistsError, UnavailableError: as :meth:`push_web3`.
        """
        key = SecretKey.requester(requester, name)
        challenge = self._challenge(key, lambda: recipes.requester_challenge(requester, name, upload.value.reveal()))
        self._check_signer(key, challenge, signature, requester)
        _check_key(name)
        self._create(key, upload, signature)

    def push_web2(self, owner: str, name: str, upload: Upload, signature: str) -> None:
        """Store a web2 secret.

        Raises:
            SecretNameError: longer than 255 characters.
            NotAllowedError, SecretSizeError, SecretExistsError, UnavailableError: as :meth:`push_web3`.
        """
        key = self._web2(owner, name, upload, signature)
        self._create(key, upload, signature)

    def replace_web2(self, owner: str, name: str, upload: Upload, signature: str) -> None:
        """Change a web2 secret; nothing is written when it has this value already.

        Raises:
            SecretNotFoundError: nothing to change.
            NotAllowedError: also when this signed write was used before: an old value cannot be put back by replay.
            SecretNameError, SecretSizeError, UnavailableError: as :meth:`push_web2`.
        """
        key = self._web2(owner, name, upload, signature)
        _check_size(upload)
        try:
            changed = self._repo.replace(key, upload.value, recipes.signature_bytes(signature), self._clock())
        except NotAllowedError as error:
            self._refuse(key, error)
            raise
        if changed:
            self._audit.released("secret.replaced", kind=key.kind, owner=key.owner, name=key.name)

    def _web2(self, owner: str, name: str, upload: Upload, signature: str) -> SecretKey:
        key = SecretKey.web2(owner, name)
        challenge = self._challenge(key, lambda: recipes.web2_challenge(owner, name, upload.value.reveal()))
        self._check_signer(key, challenge, signature, owner)
        if len(name) > MAX_WEB2_NAME or "\0" in name:
            raise SecretNameError(f"a secret name has at most {MAX_WEB2_NAME} characters and no NUL")
        return key

    def _challenge(self, key: SecretKey, recipe: Callable[[], Bytes32]) -> Bytes32:
        try:
            return recipe()
        except InputError as error:
            refused = NotAllowedError(f"{key.owner[:64]!r} is no address")
            self._refuse(key, refused)
            raise refused from error

    def _check_signer(self, key: SecretKey, challenge: Bytes32, signature: str, signer: str) -> None:
        try:
            check_signer(challenge, signature, signer)
        except NotAllowedError as error:
            self._refuse(key, error)
            raise

    def _check_owner(
        self, key: SecretKey, challenge: Bytes32, signature: str, asset: str, kinds: frozenset[AssetKind]
    ) -> None:
        try:
            check_asset_owner(self._view, challenge, signature, asset, kinds)
        except NotAllowedError as error:
            self._refuse(key, error)
            raise
        check_fresh(self._view.head(), self._clock(), self._rules.max_head_age_s)

    def _create(self, key: SecretKey, upload: Upload, signature: str) -> None:
        _check_size(upload)
        try:
            self._repo.create(key, upload.value, recipes.signature_bytes(signature), self._clock())
        except NotAllowedError as error:
            self._refuse(key, error)
            raise
        self._audit.released("secret.stored", kind=key.kind, owner=key.owner, name=key.name)

    def _refuse(self, key: SecretKey, error: NotAllowedError) -> None:
        self._audit.refused("secret.refused", kind=key.kind, owner=key.owner[:64], name=key.name[:64], code=error.code)


class TeeService:
    """Makes enclave challenges and opens sessions.

    Args:
        repo: database.
        view: chain.
        audit: record of what happened.
        rules: what this service accepts.
        maker: session maker of the service's framework.
        store: where sessions go.
        max_sessions_per_task: sessions of one task, over all its workers.
        challenge_retention_s: seconds a challenge is kept after its task's final deadline.
        clock: source of time.
    """

    def __init__(
        self,
        repo: Repo,
        view: ChainView,
        audit: AuditLog,
        rules: Rules,
        *,
        maker: SessionMaker,
        store: SessionStore,
        max_sessions_per_task: int,
        challenge_retention_s: int,
        clock: Clock = utc_now,
    ) -> None:
        self._repo = repo
        self._view = view
        self._audit = audit
        self._rules = rules
        self._maker = maker
        self._store = store
        self._max_sessions = max_sessions_per_task
        self._retention_s = challenge_retention_s
        self._clock = clock
        self._purge_lock = threading.Lock()
        self._next_purge = 0.0

    def challenge(self, task_id: str, signature: str) -> Address:
        """The enclave challenge of a task; made on the first call.

        Raises:
            NotAuthorizedError: checks 1 to 6.
            StoreError, DatabaseRowError: the database failed.
        """
        self._purge()
        try:
            authorized = authorize_challenge(self._view, task_id, signature, self._rules, self._clock())
        except NotAuthorizedError as error:
            self._audit.refused("challenge.refused", task=task_id[:66], code=error.reason)
            raise
        task = authorized.task
        found, created = self._repo.get_or_create_challenge(task.task_id, task.final_deadline)
        if created:
            self._audit.released("challenge.created", task=task.task_id, address=found.address)
        return found.address

    def open_session(self, authorization: WorkerpoolAuthorization, signature: str) -> str:
        """Open a session for a worker and return its name.

        Raises:
            SessionRefusedError: with the official reason, in the official order of checks.
        """
        task_id = authorization.chain_task_id[:66]
        try:
            return self._open_session(authorization, signature)
        except SessionRefusedError as error:
            _log.warning("session refused", task=task_id, failure=error.failure, detail=error.message)
            self._audit.refused("session.refused", task=task_id, code=error.failure)
            raise
        except AdytonError as error:  # check 18
            _log.error("session failed", task=task_id, code=error.code, detail=error.message)
            self._audit.refused("session.refused", task=task_id, code=error.code)
            raise SessionRefusedError(SessionFailure.SECURE_SESSION_GENERATION_FAILED, error.code) from error

    def _open_session(self, authorization: WorkerpoolAuthorization, signature: str) -> str:
        check_worker(authorization, signature)  # 0
        try:  # 1 to 6
            authorized = authorize_session(self._view, authorization, self._rules, self._clock())
        except NotAuthorizedError as error:
            raise SessionRefusedError(SessionFailure.not_authorized(error.reason), error.message) from error
        description = describe(self._view, authorized)  # 7
        plan = self._maker.plan(description)  # 8, 9
        challenge = self._check_challenge(authorization, authorized)  # 12
        worker = parse_address(authorization.worker_wallet)
        found = read_secrets(self._repo.get, description, worker, challenge.private_key)
        session_id = new_session_id(authorized.task.task_id)
        document = self._maker.document(plan, SessionRequest(session_id, description, worker, found))  # 13 to 16
        if not self._repo.count_session(authorized.task.task_id, self._max_sessions):
            raise SessionRefusedError(
                SessionFailure.SECURE_SESSION_GENERATION_FAILED,
                f"the task has had its {self._max_sessions} sessions",
            )
        head = self._audit.released(
            "session.released",
            task=authorized.task.task_id,
            deal=authorized.deal.deal_id,
            worker=worker,
            session=hashlib.sha256(session_id.encode()).hexdigest(),
            services=",".join(service["name"] for service in document["services"]),
        )
        try:  # 17
            self._store.create(to_yaml(document))
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


def _check_key(name: str) -> None:
    if not _REQUESTER_KEY.fullmatch(name):
        raise SecretNameError(BAD_KEY_TEXT)


def _check_size(upload: Upload) -> None:
    if upload.size > MAX_SECRET_BYTES:
        raise SecretSizeError(TOO_LARGE_TEXT)
