"""The parts of verification that depend on neither the time nor the policy, so that their outcome can be kept.

:func:`judge_collateral` and :func:`judge_pck` check formats, signatures and revocation, and return what they found
with the validity windows. A judgement is bound to the exact bytes it was made of; whoever keeps one keys it by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from adyton.attestation import chain
from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.chain import Window
from adyton.attestation.checks import Recorder
from adyton.attestation.collateral import Collateral
from adyton.attestation.errors import AttestationError, Finding
from adyton.attestation.pck import CaKind, PckExtension, ca_kind, extension_of
from adyton.attestation.quote import CertificationType, QuoteV3
from adyton.attestation.tcb import QeIdentity, TcbInfo, parse_qe_identity, parse_tcb_info


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
class PlatformId:
    """Which collateral a quote needs, read from its unverified PCK certificate."""

    fmspc: str
    ca: CaKind


@dataclass(frozen=True, slots=True)
class Pck:
    """A quote's PCK chain, read; trust in it comes from the checks."""

    chain: tuple[x509.Certificate, x509.Certificate, x509.Certificate]
    extension: PckExtension
    ca: CaKind
    key: ec.EllipticCurvePublicKey
    windows: tuple[Window, ...]

    @property
    def root_der(self) -> bytes:
        """The root certificate that the chain ends in."""
        return self.chain[2].public_bytes(Encoding.DER)


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
    documents = record.run("attestation.collateral.format", _read, collateral)
    record.run("attestation.tcb.signature", _check_tcb_signature, documents, collateral)
    record.run("attestation.qe_identity.signature", _check_qe_signature, documents, collateral)
    return JudgedCollateral(documents, *record.outcome)


def judge_pck(quote: QuoteV3 | None, documents: Documents | None) -> JudgedPck:
    """Read a quote's PCK chain and check all chains and revocation; which root is right is the verifier's step."""
    record = Recorder()
    pck = record.run("attestation.chain.pck", read_pck, quote)
    record.run("attestation.chain.path", _check_paths, pck, documents)
    record.run("attestation.crl.signature", _check_crls, pck, documents)
    record.run("attestation.crl.revoked", _check_revocation, pck, documents)
    roots = None if pck is None or documents is None else _roots(pck, documents)
    return JudgedPck(pck, roots, *record.outcome)


def platform_of(quote: QuoteV3, anchors: Iterable[TrustAnchor]) -> PlatformId:
    """Which collateral to fetch for a quote whose PCK chain is genuine under one of ``anchors``.

    The chain is checked before anything is fetched, so that only certified platforms can cause requests.

    Raises:
        AttestationError: ``attestation.chain.pck``, ``.format``, ``.path`` or ``.anchor``.
    """
    pck = read_pck(quote)
    root = chain.fingerprint(pck.chain[2])
    if not any(anchor.accepts(root) for anchor in anchors):
        raise AttestationError(
            f"the evidence chains to the root {root}, which is not accepted", code="attestation.chain.anchor"
        )
    chain.check_path(pck.chain, "the PCK chain")
    return PlatformId(pck.extension.fmspc.hex(), pck.ca)


def read_pck(quote: QuoteV3) -> Pck:
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
    return Pck((leaf, intermediate, root), extension_of(leaf), ca_kind(leaf), key, windows)


def _read(collateral: Collateral) -> Documents:
    pck_ca, pck_ca_root = chain.parse_chain(collateral.pck_crl_issuer_chain.encode(), 2, "the PCK CRL issuer chain")
    tcb_signer, tcb_root = chain.parse_chain(collateral.tcb_info_issuer_chain.encode(), 2, "the TCB info issuer chain")
    qe_signer, qe_root = chain.parse_chain(
        collateral.qe_identity_issuer_chain.encode(), 2, "the QE identity issuer chain"
    )
    root_crl = chain.parse_crl(collateral.root_ca_crl, "the root CA CRL")
    pck_crl = chain.parse_crl(collateral.pck_crl, "the PCK CRL")
    tcb_info = parse_tcb_info(collateral.tcb_info)
    qe_identity = parse_qe_identity(collateral.qe_identity)
    certificates = (pck_ca, pck_ca_root, tcb_signer, tcb_root, qe_signer, qe_root)
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
        (tcb_signer, tcb_root),
        (qe_signer, qe_root),
        root_crl,
        pck_crl,
        tcb_info,
        qe_identity,
        windows,
    )


def _check_tcb_signature(documents: Documents, collateral: Collateral) -> None:
    key = chain.p256_key(documents.tcb_chain[0], "the TCB info signer")
    if not chain.verify_raw(key, collateral.tcb_info_signature, collateral.tcb_info.encode()):
        raise AttestationError("TCB info is not signed by its issuer chain", code="attestation.tcb.signature")


def _check_qe_signature(documents: Documents, collateral: Collateral) -> None:
    key = chain.p256_key(documents.qe_chain[0], "the QE identity signer")
    if not chain.verify_raw(key, collateral.qe_identity_signature, collateral.qe_identity.encode()):
        raise AttestationError(
            "QE identity is not signed by its issuer chain", code="attestation.qe_identity.signature"
        )


def _check_paths(pck: Pck, documents: Documents) -> None:
    chain.check_path(pck.chain, "the PCK chain")
    chain.check_path(documents.tcb_chain, "the TCB info issuer chain")
    chain.check_path(documents.qe_chain, "the QE identity issuer chain")
    for signer, _root in (documents.tcb_chain, documents.qe_chain):
        # Both are made by the TCB signing certificate: a PCK certificate, also below this root, must not do.
        if "SGX TCB Signing" not in chain.common_name(signer.subject):
            raise AttestationError(
                f"{chain.common_name(signer.subject)!r} is not a TCB signing certificate", code="attestation.chain.path"
            )
    intermediate = pck.chain[1]
    # The CRL's issuer must be the PCK's issuer: same name and key; a renewed certificate of both is the same CA.
    if (documents.pck_ca.subject, chain.spki(documents.pck_ca)) != (intermediate.subject, chain.spki(intermediate)):
        raise AttestationError(
            f"the PCK CRL is of {chain.common_name(documents.pck_ca.subject)!r}, "
            f"the PCK certificate of {chain.common_name(intermediate.subject)!r}",
            code="attestation.chain.path",
        )


def _roots(pck: Pck, documents: Documents) -> frozenset[str]:
    roots = (pck.chain[2], documents.pck_ca_root, documents.tcb_chain[1], documents.qe_chain[1])
    return frozenset(chain.fingerprint(root) for root in roots)


def _check_crls(pck: Pck, documents: Documents) -> None:
    chain.check_crl(documents.root_crl, pck.chain[2], "the root CA CRL")
    chain.check_crl(documents.pck_crl, pck.chain[1], "the PCK CRL")


def _check_revocation(pck: Pck, documents: Documents) -> None:
    for certificate in (pck.chain[1], documents.pck_ca, documents.tcb_chain[0], documents.qe_chain[0]):
        chain.check_not_revoked(documents.root_crl, certificate)
    chain.check_not_revoked(documents.pck_crl, pck.chain[0])
