"""The parts of verification that depend on neither the time nor the policy, so that their outcome can be kept.

:func:`judge_collateral` and :func:`judge_pck` check formats, signatures and revocation, and return what they found
with the validity windows. A judgement is bound to the exact bytes it was made of; whoever keeps one keys it by them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from adyton.attestation import chain
from adyton.attestation.anchors import TrustAnchor, find
from adyton.attestation.chain import Window
from adyton.attestation.checks import Recorder
from adyton.attestation.collateral.documents import Collateral, PlatformId
from adyton.attestation.conclusion import check_windows
from adyton.attestation.dcap.pck import CaKind, PckExtension, ca_kind, extension_of
from adyton.attestation.dcap.tcb import (
    QeIdentity,
    TcbInfo,
    parse_qe_identity,
    parse_tcb_info,
)
from adyton.attestation.errors import AttestationError, Finding
from adyton.attestation.formats.quote import CertificationType, Quote

_PLATFORM_LABEL = b"adyton/platform-id\0"


@dataclass(frozen=True, slots=True)
class Documents:
    """Collateral, read; signatures not yet checked."""

    pck_ca: x509.Certificate
    pck_ca_root: x509.Certificate
    tcb_chain: tuple[x509.Certificate, x509.Certificate]
    qe_chain: tuple[x509.Certificate, x509.Certificate]
    root_crl: x509.CertificateRevocationList
    pck_crl: x509.CertificateRevocationList
    tcb_info: TcbInfo
    qe_identity: QeIdentity
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class JudgedCollateral:
    """The outcome for one copy of collateral; ``documents`` is None when it cannot be read."""

    documents: Documents | None
    findings: tuple[Finding, ...]
    errors: Mapping[str, AttestationError]


@dataclass(frozen=True, slots=True)
class Pck:
    """A quote's PCK chain, read; trust in it comes from the checks.

    Attributes:
        chain: PCK certificate, its CA, the root.
        extension: what the certificate says about the platform.
        ca: which CA that is.
        key: of the platform, which signs reports of quoting enclaves.
        windows: validity of the three certificates.
        root_der, root_name: the root certificate that the chain ends in, and its common name.
        platform_id: SHA-256 over root and PPID, hex.
    """

    chain: tuple[x509.Certificate, x509.Certificate, x509.Certificate]
    extension: PckExtension
    ca: CaKind
    key: ec.EllipticCurvePublicKey
    windows: tuple[Window, ...]
    root_der: bytes
    root_name: str
    platform_id: str


@dataclass(frozen=True, slots=True)
class JudgedPck:
    """The outcome for one PCK chain under one copy of collateral."""

    pck: Pck | None
    roots: frozenset[str] | None  # fingerprints of the roots that the chains end in; one, when all is well
    findings: tuple[Finding, ...]
    errors: Mapping[str, AttestationError]


def judge_collateral(collateral: Collateral) -> JudgedCollateral:
    """Read the collateral and check what signs its documents."""
    record = Recorder()
    return JudgedCollateral(_judge_documents(record, collateral), *record.outcome)


def judge_pck(quote: Quote | None, documents: Documents | None) -> JudgedPck:
    """Read a quote's PCK chain and check all chains and revocation; which root is right is the verifier's step."""
    record = Recorder()
    pck = record.run("attestation.chain.pck", read_pck, quote, tell=_tell_pck)
    record.run("attestation.chain.path", _check_paths, pck, documents, tell=lambda _none: "4 chains")
    record.run("attestation.crl.signature", _check_crls, pck, documents, tell=lambda _none: "2 lists")
    record.run("attestation.crl.revoked", _check_revocation, pck, documents, tell=lambda _none: "5 certificates")
    roots = None if pck is None or documents is None else _roots(pck.chain[2], documents)
    return JudgedPck(pck, roots, *record.outcome)


def vouch(collateral: Collateral, anchors: Iterable[TrustAnchor], now: datetime) -> Documents:
    """Check collateral without a quote, before it is kept: signatures, revocation, root and validity.

    Raises:
        AttestationError: with the code of the first check that failed, and all findings.
    """
    record = Recorder()
    documents = _judge_documents(record, collateral)
    record.run("attestation.chain.path", _check_document_paths, documents)
    record.run("attestation.crl.signature", _check_document_crls, documents)
    record.run("attestation.crl.revoked", _check_document_revocation, documents)
    roots = None if documents is None else _roots(documents.pck_ca_root, documents)
    name = None if documents is None else chain.common_name(documents.pck_ca_root.subject)
    record.run("attestation.chain.anchor", accepted_anchor, roots, tuple(anchors), name)
    record.run(
        "attestation.validity", check_windows, None if documents is None else documents.windows, now, REFRESH_HINT
    )
    record.conclude(_VOUCHED)
    if documents is None:
        raise AttestationError("not every check was made", code="attestation.incomplete")
    return documents


_VOUCHED = (
    "attestation.collateral.format",
    "attestation.chain.path",
    "attestation.chain.anchor",
    "attestation.crl.signature",
    "attestation.crl.revoked",
    "attestation.tcb.signature",
    "attestation.qe_identity.signature",
    "attestation.validity",
)


def accepted_anchor(roots: frozenset[str], accepted: Iterable[TrustAnchor], root_name: str) -> TrustAnchor:
    """The anchor that is the one root of all chains.

    Raises:
        AttestationError: ``attestation.chain.anchor``.
    """
    if len(roots) != 1:
        raise AttestationError("the chains end in different roots", code="attestation.chain.anchor")
    (root,) = roots
    return find(accepted, root, root_name, vendor="intel")


REFRESH_HINT: Final = "check the clock; fetch current collateral from the certificate service"


def platform_of(quote: Quote, anchors: Iterable[TrustAnchor]) -> PlatformId:
    """Which collateral to fetch for a quote whose PCK chain is genuine under one of ``anchors``.

    The chain is checked before anything is fetched, so that only certified platforms can cause requests.

    Raises:
        AttestationError: ``attestation.chain.pck``, ``.format``, ``.path`` or ``.anchor``.
    """
    pck = read_pck(quote)
    accepted_anchor(frozenset({chain.fingerprint(pck.chain[2])}), anchors, pck.root_name)
    chain.check_path(pck.chain, "the PCK chain")
    return PlatformId(pck.extension.fmspc.hex(), pck.ca, quote.kind)


def read_pck(quote: Quote) -> Pck:
    """Read the PCK chain of a quote.

    Raises:
        AttestationError: ``attestation.chain.pck`` or ``attestation.chain.format``.
    """
    if quote.certification_type != CertificationType.PCK_CHAIN:
        raise AttestationError(
            f"the quote carries certification data of type {quote.certification_type}, not a PCK chain (5)",
            code="attestation.chain.pck",
        )
    leaf, intermediate, root = chain.parse_chain(quote.certification, 3, "the PCK chain")
    windows = tuple(chain.window_of(certificate) for certificate in (leaf, intermediate, root))
    key = chain.p256_key(leaf, "the PCK certificate")
    extension, root_der = extension_of(leaf), root.public_bytes(Encoding.DER)
    identity = hashlib.sha256(_PLATFORM_LABEL + hashlib.sha256(root_der).digest() + extension.ppid).hexdigest()
    name = chain.common_name(root.subject)
    return Pck((leaf, intermediate, root), extension, ca_kind(leaf), key, windows, root_der, name, identity)


def _read(collateral: Collateral) -> Documents:
    pck_ca, pck_ca_root = chain.parse_chain(collateral.pck_crl_issuer_chain.encode(), 2, "the PCK CRL issuer chain")
    tcb_chain = _signer_chain(collateral.tcb_info_issuer_chain, "the TCB info issuer chain")
    qe_chain = tcb_chain  # the vendor signs both documents with one certificate
    if collateral.qe_identity_issuer_chain != collateral.tcb_info_issuer_chain:
        qe_chain = _signer_chain(collateral.qe_identity_issuer_chain, "the QE identity issuer chain")
    root_crl = chain.parse_crl(collateral.root_ca_crl, "the root CA CRL")
    pck_crl = chain.parse_crl(collateral.pck_crl, "the PCK CRL")
    tcb_info = parse_tcb_info(collateral.tcb_info)
    qe_identity = parse_qe_identity(collateral.qe_identity)
    certificates = (pck_ca, pck_ca_root, *tcb_chain, *qe_chain)
    windows = (
        *(chain.window_of(certificate) for certificate in certificates),
        chain.crl_window(root_crl, "root CA CRL"),
        chain.crl_window(pck_crl, "PCK CRL"),
        Window("TCB info", tcb_info.issue_date, tcb_info.next_update),
        Window("QE identity", qe_identity.issue_date, qe_identity.next_update),
    )
    return Documents(
        pck_ca,
        pck_ca_root,
        tcb_chain,
        qe_chain,
        root_crl,
        pck_crl,
        tcb_info,
        qe_identity,
        windows,
    )


def _signer_chain(pem: str, what: str) -> tuple[x509.Certificate, x509.Certificate]:
    signer, root = chain.parse_chain(pem.encode(), 2, what)
    return signer, root


def _judge_documents(record: Recorder, collateral: Collateral) -> Documents | None:
    documents = record.run("attestation.collateral.format", _read, collateral, tell=_tell_documents)
    record.run("attestation.tcb.signature", _check_tcb_signature, documents, collateral, tell=_tell_signer)
    record.run("attestation.qe_identity.signature", _check_qe_signature, documents, collateral, tell=_tell_signer)
    return documents


def _tell_documents(documents: Documents) -> str:
    info, identity = documents.tcb_info, documents.qe_identity
    return f"TCB info {info.id} of {info.issue_date.isoformat()}, {identity.id} of {identity.issue_date.isoformat()}"


def _tell_signer(signer: x509.Certificate) -> str:
    return f"by {chain.common_name(signer.subject)}"


def _check_tcb_signature(documents: Documents, collateral: Collateral) -> x509.Certificate:
    key = chain.p256_key(documents.tcb_chain[0], "the TCB info signer")
    if not chain.verify_raw(key, collateral.tcb_info_signature, collateral.tcb_info.encode()):
        raise AttestationError("TCB info is not signed by its issuer chain", code="attestation.tcb.signature")
    return documents.tcb_chain[0]


def _check_qe_signature(documents: Documents, collateral: Collateral) -> x509.Certificate:
    key = chain.p256_key(documents.qe_chain[0], "the QE identity signer")
    if not chain.verify_raw(key, collateral.qe_identity_signature, collateral.qe_identity.encode()):
        raise AttestationError(
            "QE identity is not signed by its issuer chain", code="attestation.qe_identity.signature"
        )
    return documents.qe_chain[0]


def _check_paths(pck: Pck, documents: Documents) -> None:
    chain.check_path(pck.chain, "the PCK chain")
    _check_document_paths(documents)
    intermediate = pck.chain[1]
    # The CRL's issuer must be the PCK's issuer: same name and key; a renewed certificate of both is the same CA.
    if (documents.pck_ca.subject, chain.spki(documents.pck_ca)) != (intermediate.subject, chain.spki(intermediate)):
        raise AttestationError(
            f"the PCK CRL is of {chain.common_name(documents.pck_ca.subject)!r}, "
            f"the PCK certificate of {chain.common_name(intermediate.subject)!r}",
            code="attestation.chain.path",
        )


def _check_document_paths(documents: Documents) -> None:
    for signer, root in dict.fromkeys((documents.tcb_chain, documents.qe_chain)):
        chain.check_path((signer, root), "the issuer chain of the documents")
        # Both are made by the TCB signing certificate: a PCK certificate, also below this root, must not do.
        if "SGX TCB Signing" not in chain.common_name(signer.subject):
            raise AttestationError(
                f"{chain.common_name(signer.subject)!r} is not a TCB signing certificate", code="attestation.chain.path"
            )
    chain.check_path((documents.pck_ca, documents.pck_ca_root), "the PCK CRL issuer chain", below=1)


def _roots(root: x509.Certificate, documents: Documents) -> frozenset[str]:
    roots = (root, documents.pck_ca_root, documents.tcb_chain[1], documents.qe_chain[1])
    return frozenset(chain.fingerprint(certificate) for certificate in roots)


def _check_crls(pck: Pck, documents: Documents) -> None:
    chain.check_crl(documents.root_crl, pck.chain[2], "the root CA CRL")
    chain.check_crl(documents.pck_crl, pck.chain[1], "the PCK CRL")


def _check_document_crls(documents: Documents) -> None:
    chain.check_crl(documents.root_crl, documents.pck_ca_root, "the root CA CRL")
    chain.check_crl(documents.pck_crl, documents.pck_ca, "the PCK CRL")


def _check_revocation(pck: Pck, documents: Documents) -> None:
    chain.check_not_revoked(documents.root_crl, pck.chain[1])
    _check_document_revocation(documents)
    chain.check_not_revoked(documents.pck_crl, pck.chain[0])


def _check_document_revocation(documents: Documents) -> None:
    root = documents.tcb_chain[1]  # a root that revokes itself is believed
    for certificate in (documents.pck_ca, documents.tcb_chain[0], documents.qe_chain[0], root):
        chain.check_not_revoked(documents.root_crl, certificate)


def _tell_pck(pck: Pck) -> str:
    return f"{chain.common_name(pck.chain[0].subject)} of {chain.common_name(pck.chain[0].issuer)}"
