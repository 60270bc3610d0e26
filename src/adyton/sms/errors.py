"""Errors of the secret management service, on both sides of its wire."""

from __future__ import annotations

from adyton.base.errors import AdytonError, InputError, NotFoundError, UnavailableError
from adyton.sms.wire import SessionFailure
from adyton.web.limits import RateError


class NotAllowedError(AdytonError):
    """The signature is not the one of who may do this (401 on the wire)."""

    code = "sms.not_allowed"


class SecretExistsError(AdytonError):
    """A secret of this name is there already and its kind is never changed (409 on the wire)."""

    code = "sms.secret.exists"


class SecretNotFoundError(NotFoundError):
    """No secret of this name (404 on the wire)."""

    code = "sms.secret.not_found"


class SecretSizeError(InputError):
    """The value is larger than 4,096 bytes of UTF-8."""

    code = "sms.secret.size"


class SecretNameError(InputError):
    """The secret's name is malformed."""

    code = "sms.secret.name"


class SessionRefusedError(AdytonError):
    """The service opened no session; ``failure`` is the official reason."""

    code = "sms.session.refused"

    def __init__(self, failure: SessionFailure, detail: str = "") -> None:
        super().__init__(f"no session for the task: {failure}" + (f" ({detail})" if detail else ""))
        self.failure = failure


class ChallengeRefusedError(AdytonError):
    """The service gave out no enclave challenge for the task."""

    code = "sms.challenge.refused"


class FrameworkMismatchError(AdytonError):
    """The service runs another TEE framework than the one asked for."""

    code = "sms.framework.mismatch"


class UnsupportedFrameworkError(AdytonError):
    """The service has no session maker for the framework it is set to."""

    code = "sms.framework.unsupported"


class UnexpectedStatusError(AdytonError):
    """The service answered with a status that the protocol does not have there."""

    code = "sms.answer"


class DatabaseKeyError(AdytonError):
    """The database was made under another key than the one this process was given."""

    code = "sms.database.key"


class DatabaseRowError(AdytonError):
    """A stored row does not decrypt at its place: it was altered, moved or made under another key."""

    code = "sms.database.row"


class BackupError(AdytonError):
    """An operation on backups failed; nothing is known to have changed (500 on the wire)."""

    code = "sms.backup.failed"


class BackupNameError(InputError):
    """What names a backup or its folder is not a name in the storage location (400 on the wire)."""

    code = "sms.backup.name"
    hint = "a storage id is the hex of the folder's path inside the storage location, a backup's name a plain file name"


class BackupNotFoundError(NotFoundError):
    """The named storage folder, or a file of the named backup, is not there (404 on the wire)."""

    code = "sms.backup.not_found"


class BackupBusyError(AdytonError):
    """Another operation on backups is running (429 on the wire)."""

    code = "sms.backup.busy"
    hint = "only one operation on backups runs at a time; try again when it has ended"


class BulkError(AdytonError):
    """The datasets of a bulk task cannot be had: unreachable, not what their CID names, malformed, or none usable."""

    code = "sms.bulk"


class AttestationServerError(UnavailableError):
    """None of the configured attestation servers answers."""

    code = "sms.attestation_server"


class TooManyRequestsError(RateError):
    """The client has used up what it may ask for (429 on the wire); ``retry_after_s`` says when to come back."""

    code = "sms.rate"
