"""The use cases of owners: store and change secrets.

Each checks, acts and records, in this order; what is refused is recorded, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from adyton.base.clock import Clock, utc_now
from adyton.base.errors import InputError
from adyton.base.secret import Secret
from adyton.base.types import Bytes32
from adyton.chain.contracts import AssetKind
from adyton.sms.access import recipes
from adyton.sms.access.authorize import Rules, check_asset_owner, check_fresh
from adyton.sms.access.signatures import Credential, Signatures
from adyton.sms.audit import AuditLog
from adyton.sms.errors import NotAllowedError, SecretNameError, SecretSizeError
from adyton.sms.onchain.view import ChainView
from adyton.sms.store.storage import Storage
from adyton.sms.store.tables import SecretKey
from adyton.sms.wire import BAD_KEY_TEXT, MAX_SECRET_BYTES, TOO_LARGE_TEXT

MAX_WEB2_NAME: Final = 255  # characters; the official database's column
_REQUESTER_KEY = re.compile(r"[0-9A-Za-z\-_]{1,64}")
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_DATASETS: Final = frozenset({AssetKind.DATASET})
_APPS: Final = frozenset({AssetKind.APP})


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
        signatures: judge of who signed.
        audit: record of what happened.
        rules: what this service accepts.
        clock: source of time.
    """

    def __init__(
        self,
        repo: Storage,
        view: ChainView,
        signatures: Signatures,
        audit: AuditLog,
        rules: Rules,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._repo = repo
        self._view = view
        self._signatures = signatures
        self._audit = audit
        self._rules = rules
        self._clock = clock

    def exists(self, key: SecretKey) -> bool:
        """Whether a secret is stored.

        Raises:
            StoreError: the database failed.
        """
        return _ADDRESS.fullmatch(key.owner) is not None and _is_storable(key.name) and self._repo.exists(key)

    def exists_requester(self, requester: str, key: str) -> bool:
        """Whether a requester secret is stored.

        Raises:
            SecretNameError: malformed key.
            StoreError: the database failed.
        """
        _check_key(key)
        return self.exists(SecretKey.requester(requester, key))

    def push_web3(self, address: str, upload: Upload, credential: Credential) -> None:
        """Store the secret of a dataset of the registry for ever.

        Raises:
            NotAllowedError: not signed by the dataset's owner, or no registered dataset.
            SecretSizeError, SecretExistsError: as named.
            TooManyRequestsError: the client has asked too many contract accounts.
            UnavailableError: chain or database failed.
        """
        key = SecretKey.web3(address)
        challenge = self._challenge(key, lambda: recipes.web3_challenge(address, upload.value.reveal()))
        mark = self._owner_mark(key, challenge, credential, address, _DATASETS)
        self._create(key, upload, mark)

    def push_app(self, app: str, upload: Upload, credential: Credential) -> None:
        """Store the developer secret of a registered app for ever.

        Raises:
            NotAllowedError, SecretSizeError, SecretExistsError, TooManyRequestsError, UnavailableError: as
                :meth:`push_web3`.
        """
        key = SecretKey.app(app)
        challenge = self._challenge(key, lambda: recipes.app_challenge(app, upload.value.reveal()))
        mark = self._owner_mark(key, challenge, credential, app, _APPS)
        self._create(key, upload, mark)

    def push_requester(self, requester: str, name: str, upload: Upload, credential: Credential) -> None:
        """Store a named requester secret for ever; the signature is checked before the name.

        Raises:
            SecretNameError: malformed name.
            NotAllowedError, SecretSizeError, SecretExistsError, TooManyRequestsError, UnavailableError: as
                :meth:`push_web3`.
        """
        key = SecretKey.requester(requester, name)
        challenge = self._challenge(key, lambda: recipes.requester_challenge(requester, name, upload.value.reveal()))
        mark = self._signer_mark(key, challenge, credential, requester)
        _check_key(name)
        self._create(key, upload, mark)

    def push_web2(self, owner: str, name: str, upload: Upload, credential: Credential) -> None:
        """Store a web2 secret.

        Raises:
            SecretNameError: longer than 255 characters.
            NotAllowedError, SecretSizeError, SecretExistsError, TooManyRequestsError, UnavailableError: as
                :meth:`push_web3`.
        """
        key = SecretKey.web2(owner, name)
        self._create(key, upload, self._web2_mark(key, name, owner, upload, credential))

    def replace_web2(self, owner: str, name: str, upload: Upload, credential: Credential) -> None:
        """Change a web2 secret; one that has this value already stays, and the signed write counts as used.

        Raises:
            SecretNotFoundError: nothing to change.
            NotAllowedError: also when this signed write was used before: an old value cannot be put back by replay.
            SecretNameError, SecretSizeError, TooManyRequestsError, UnavailableError: as :meth:`push_web2`.
        """
        key = SecretKey.web2(owner, name)
        mark = self._web2_mark(key, name, owner, upload, credential)
        _check_size(upload)
        line = self._audit.line("secret.replaced", kind=key.kind, owner=key.owner, name=key.name)
        try:
            self._repo.replace(key, upload.value, mark, self._clock(), line)
        except NotAllowedError as error:
            self._refuse(key, error)
            raise

    def _web2_mark(self, key: SecretKey, name: str, owner: str, upload: Upload, credential: Credential) -> bytes:
        challenge = self._challenge(key, lambda: recipes.web2_challenge(owner, name, upload.value.reveal()))
        mark = self._signer_mark(key, challenge, credential, owner)
        if not _is_storable(key.name):
            raise SecretNameError(f"a secret name has at most {MAX_WEB2_NAME} characters and no NUL")
        return mark

    def _challenge(self, key: SecretKey, recipe: Callable[[], Bytes32]) -> Bytes32:
        try:
            return recipe()
        except InputError as error:
            refused = NotAllowedError(f"{key.owner[:64]!r} is no address")
            self._refuse(key, refused)
            raise refused from error

    def _signer_mark(self, key: SecretKey, challenge: Bytes32, credential: Credential, signer: str) -> bytes:
        try:
            return self._signatures.check(challenge, credential, signer)
        except NotAllowedError as error:
            self._refuse(key, error)
            raise

    def _owner_mark(
        self, key: SecretKey, challenge: Bytes32, credential: Credential, asset: str, kinds: frozenset[AssetKind]
    ) -> bytes:
        try:
            mark = check_asset_owner(self._view, self._signatures, challenge, credential, asset, kinds=kinds)
        except NotAllowedError as error:
            self._refuse(key, error)
            raise
        check_fresh(self._view.head(), self._clock(), self._rules.max_head_age_s)
        return mark

    def _create(self, key: SecretKey, upload: Upload, mark: bytes) -> None:
        _check_size(upload)
        line = self._audit.line("secret.stored", kind=key.kind, owner=key.owner, name=key.name)
        try:
            self._repo.create(key, upload.value, mark, self._clock(), line)
        except NotAllowedError as error:
            self._refuse(key, error)
            raise

    def _refuse(self, key: SecretKey, error: NotAllowedError) -> None:
        self._audit.refused("secret.refused", kind=key.kind, owner=key.owner[:64], name=key.name[:64], code=error.code)


def _check_key(name: str) -> None:
    if not _REQUESTER_KEY.fullmatch(name):
        raise SecretNameError(BAD_KEY_TEXT)


def _check_size(upload: Upload) -> None:
    if upload.size > MAX_SECRET_BYTES:
        raise SecretSizeError(TOO_LARGE_TEXT)


def _is_storable(name: str) -> bool:
    return len(name) <= MAX_WEB2_NAME and "\0" not in name
