"""What a session lets out, and to whom: pure rules over a stored session, a service's name and verified evidence.

In the order of :mod:`adyton.cas.releasing.attested`:

1. the session exists and has not expired, and has a service of that name;
2. the evidence holds under :func:`policy_of`: the service's measurements, the session's tolerated weaknesses, and the
   trust anchors of the CAS, of which a session can accept fewer, never more;
3. :func:`configuration` is built of that service's part alone.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable
from datetime import datetime

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.errors import AttestationError
from adyton.attestation.evidence import VerifiedEnclave
from adyton.attestation.policy import QuotePolicy, parse_tolerate
from adyton.base.errors import AdytonError
from adyton.cas.errors import ReleaseRefusedError, UnknownServiceError, UnknownSessionError
from adyton.cas.language.session import Service
from adyton.cas.language.templates import fill, fill_text, is_enclave_bound
from adyton.cas.releasing.approvals import approvers_of, standing
from adyton.cas.store.repo import StoredSession
from adyton.cas.wire import ConfigAnswer, FileAnswer, VolumeAnswer


class MeasurementError(ReleaseRefusedError):
    """The enclave is genuine, but it is not one that this service may be."""

    code = "cas.release.measurement"
    hint = "list the enclave's MRENCLAVE in the service's 'mrenclaves', if it is the program that is meant"


class TierError(ReleaseRefusedError):
    """The session accepts none of the trust anchors of this CAS."""

    code = "cas.release.tier"
    hint = "name in 'security.attestation.tiers' an anchor that the CAS accepts, or leave it out"


def find_service(stored: StoredSession | None, service: str, now: datetime) -> tuple[StoredSession, Service]:
    """The service that an enclave asks to be, with the enclaves that may be it now.

    Raises:
        UnknownSessionError: no such session; ``cas.session.expired`` when it has ended.
        UnknownServiceError: the session has no such service.
    """
    if stored is None:
        raise UnknownSessionError("no session has this name")
    expiry = stored.session.expires_at
    if expiry is not None and now >= expiry:
        raise UnknownSessionError(f"the session ended at {expiry.isoformat()}", code="cas.session.expired")
    found = stored.session.service(service)
    if found is None:
        raise UnknownServiceError(f"the session has no service {service!r}")
    return stored, standing(stored, found)


def policy_of(stored: StoredSession, service: Service, anchors: Iterable[TrustAnchor]) -> QuotePolicy:
    """What evidence ``service`` is released to; ``anchors`` are the CAS's own.

    Raises:
        TierError: the session accepts none of them, as after a change of the CAS's settings.
    """
    attestation = stored.session.security.attestation
    accepted = tuple(anchor for anchor in anchors if not attestation.tiers or anchor.tier in attestation.tiers)
    if not accepted:
        raise TierError(f"the session accepts {', '.join(attestation.tiers)} only")
    return QuotePolicy(
        anchors=accepted,
        mrenclaves=frozenset(bytes.fromhex(text) for text in service.mrenclaves),
        tolerate=parse_tolerate(attestation.tolerate),
        ignore_advisories=frozenset(attestation.ignore_advisories),
    )


def refusal(error: AttestationError, service: str) -> AdytonError:
    """The error to answer and record for refused evidence: a foreign measurement is the session's own refusal."""
    if error.code == "attestation.measurement":
        return MeasurementError(f"service {service!r}: {error.message}")
    return error


def check_measurement(service: Service, evidence: VerifiedEnclave) -> None:
    """Check once more, apart from the quote's verification, that this enclave may be this service.

    Raises:
        MeasurementError: it may not.
    """
    found = evidence.mrenclave.hex()
    if not any(hmac.compare_digest(found, accepted) for accepted in service.mrenclaves):
        raise MeasurementError(f"service {service.name!r}: MRENCLAVE {found} is not accepted")


def configuration(
    stored: StoredSession, service: Service, mrenclave: bytes, *, ca: str, certificate: str, activation: str = ""
) -> ConfigAnswer:
    """Exactly the part of ``service``: its templates filled in, and the volumes and files of its image.

    Args:
        stored: the session.
        service: one of its services.
        mrenclave: measurement that its enclave-keys are for, see :func:`adyton.cas.releasing.approvals.key_owner`.
        ca: PEM root of the CAS's authority, and what :meth:`adyton.cas.face.authority.Authority.roots_pem` adds.
        certificate: PEM identity certificate over the attested key, and what leads from it to former roots.
        activation: what the enclave shows when it renews its identity.
    """
    material = stored.material
    image = stored.session.image_of(service)
    return ConfigAnswer(
        command=fill_text(service.command, material, mrenclave),
        pwd=service.pwd,
        environment={
            name: fill_text(value, material, mrenclave)
            for name, value in service.environment.items()
            if value is not None
        },
        volumes={
            mount.name: VolumeAnswer(path=mount.path, key=material.volume_keys[mount.name].reveal().hex())
            for mount in (image.volumes if image else ())
        },
        files=tuple(
            FileAnswer(
                path=file.path,
                content=base64.b64encode(fill(file.content, material, mrenclave)).decode(),
                bound=is_enclave_bound(file.content, material),
            )
            for file in (image.injection_files if image else ())
        ),
        ca=ca,
        certificate=certificate,
        activation=activation,
        upgrade=approvers_of(stored),
    )
