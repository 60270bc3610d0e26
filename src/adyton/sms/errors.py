"""Errors of the secret management service, on both sides of its wire."""

from __future__ import annotations

from adyton.base.errors import AdytonError, InputError, NotFoundError
from adyton.sms.wire import SessionFailure


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
