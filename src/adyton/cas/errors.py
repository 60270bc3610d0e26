"""The errors of this room, one class per decision that the edge or a caller takes."""

from __future__ import annotations

from adyton.base.errors import AdytonError, NotFoundError


class UnauthenticatedError(AdytonError):
    """The request came without a client certificate, so there is nobody to decide about (401)."""

    code = "cas.client.certificate"
    hint = "connect with a client certificate; any key will do, it becomes the identity of the sessions it creates"


class ForbiddenError(AdytonError):
    """The caller is known and may not (403)."""

    code = "cas.session.forbidden"


class ConflictError(AdytonError):
    """The session is not in the state that the request stands on (409)."""

    code = "cas.session.exists"


class UnknownSessionError(NotFoundError):
    """No session has this name (404)."""

    code = "cas.session.unknown"


class UnknownServiceError(NotFoundError):
    """The session has no such service (404)."""

    code = "cas.session.service_unknown"


class ReleaseRefusedError(AdytonError):
    """Genuine or not, this enclave does not get this part of this session (403)."""

    code = "cas.release.refused"


class SealedStateError(AdytonError):
    """The stored state cannot be opened by this enclave on this CPU; nothing was changed."""

    code = "cas.sealed.other_platform"


class StoreCorruptError(AdytonError):
    """A row does not decrypt in its place: altered, moved from another row, or from another database."""

    code = "cas.store.corrupt"
    hint = "restore the database folder from a backup made on this platform; nothing of it is trusted meanwhile"


class AuditBrokenError(AdytonError):
    """The audit log is not the one that was written."""

    code = "cas.audit.broken"
    hint = "keep the database folder as evidence; entries up to the named one are intact"
