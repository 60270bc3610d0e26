"""Collateral and PCK chains whose certificates are not all the same ones: renewed CAs, two signers, two roots."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from fuzz.specimen import NOW, Maker, enclave_body

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.assessment import verify_quote
from adyton.attestation.dcap.judge import vouch
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.formats.quote import Quote
from adyton.attestation.policy import QuotePolicy
from adyton.base.secret import Secret
from adyton.platform.simulated import pki
from adyton.platform.simulated.derive import derive_p256, sign_raw

OTHER = derive_p256(Secret(b"another TCB signing key, 32 byte"), "other")


@pytest.fixture(scope="module")
def maker() -> Maker:
    return Maker("judge")


@pytest.fixture(scope="module")
def quote(maker: Maker) -> Quote:
    return maker.quote(enclave_body())


def failed(quote: Quote, collateral: Collateral, *anchors: TrustAnchor, **options: int) -> set[str]:
    """The checks that a quote fails; none when it is accepted."""
    policy = QuotePolicy(
        anchors=anchors,
        mrenclaves=frozenset({enclave_body().mrenclave}),
        min_evaluation_number=options.get("min_evaluation_number", 0),
    )
    try:
        verify_quote(quote.to_bytes(), collateral, policy, NOW)
    except AttestationError as error:
        return {finding.check for finding in error.findings if finding.outcome is Outcome.FAILED}
    return set()


def refused_alone(collateral: Collateral, *anchors: TrustAnchor) -> str:
    """The code that the same collateral is refused with before it is kept; empty when it would be."""
    try:
        vouch(collateral, anchors, NOW)
    except AttestationError as error:
        return error.code
    return ""


def authority(maker: Maker, role: str) -> x509.Certificate:
    """Another certificate of the same authority: same name and key, another serial number."""
    root = maker.vendor._root
    key, issuer = (root.key, None) if role == "Root CA" else (maker.ca_key, root)
    start = NOW - timedelta(days=400)
    builder = pki._builder(role, key.public_key(), issuer, start, start + timedelta(days=4000))
    length = 1 if role == "Root CA" else 0
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=length), critical=True)
    return builder.add_extension(pki._usage(ca=True), critical=True).sign(root.key, SHA256())


def revoking(maker: Maker, *certificates: x509.Certificate) -> bytes:
    serials = frozenset(certificate.serial_number for certificate in certificates)
    return pki._crl(maker.vendor._root, NOW - timedelta(days=1), serials)


def test_a_renewed_ca_is_the_same_ca(maker: Maker, quote: Quote) -> None:
    renewed, root = authority(maker, "PCK Platform CA"), maker.vendor._root.certificate
    collateral = replace(maker.collateral(), pck_crl_issuer_chain=pki._pem(renewed, root).decode())
    assert failed(quote, collateral, maker.vendor.anchor) == set()
    assert refused_alone(collateral, maker.vendor.anchor) == ""


def test_either_certificate_of_a_renewed_ca_may_be_revoked(maker: Maker, quote: Quote) -> None:
    """The one in the quote, and the one that the list of revoked platforms comes with."""
    renewed, root = authority(maker, "PCK Platform CA"), maker.vendor._root.certificate
    good = replace(maker.collateral(), pck_crl_issuer_chain=pki._pem(renewed, root).decode())
    of_quote = replace(good, root_ca_crl=revoking(maker, maker.vendor._platform_ca.certificate))
    assert failed(quote, of_quote, maker.vendor.anchor) == {"attestation.crl.revoked"}
    assert refused_alone(of_quote, maker.vendor.anchor) == ""  # the collateral itself is none the worse
    of_list = replace(good, root_ca_crl=revoking(maker, renewed))
    assert failed(quote, of_list, maker.vendor.anchor) == {"attestation.crl.revoked"}
    assert refused_alone(of_list, maker.vendor.anchor) == "attestation.crl.revoked"


def two_signers(maker: Maker, document: str) -> tuple[Collateral, x509.Certificate]:
    """Collateral of which one document has a signer of its own, who is as good as the other."""
    signer = maker.vendor._leaf("TCB Signing", OTHER.public_key(), maker.vendor._root, NOW)
    good = maker.collateral()
    changes = {
        f"{document}_issuer_chain": pki._pem(signer, maker.vendor._root.certificate).decode(),
        f"{document}_signature": sign_raw(OTHER, getattr(good, document).encode()),
    }
    return replace(good, **changes), signer  # type: ignore[arg-type]  # members of Collateral


@pytest.mark.parametrize("document", ["tcb_info", "qe_identity"])
def test_each_document_has_its_own_signer(maker: Maker, quote: Quote, document: str) -> None:
    collateral, signer = two_signers(maker, document)
    anchor = maker.vendor.anchor
    assert failed(quote, collateral, anchor) == set()
    gone = replace(collateral, root_ca_crl=revoking(maker, signer))
    assert failed(quote, gone, anchor) == {"attestation.crl.revoked"}
    assert refused_alone(gone, anchor) == "attestation.crl.revoked"
    check = "attestation.tcb.signature" if document == "tcb_info" else "attestation.qe_identity.signature"
    crossed = replace(collateral, **{f"{document}_issuer_chain": maker.collateral().tcb_info_issuer_chain})  # type: ignore[arg-type]
    assert failed(quote, crossed, anchor) == {check}


@pytest.mark.parametrize("document", ["tcb_info", "qe_identity"])
@pytest.mark.parametrize("role", ["PCK Certificate", "Signing"])
def test_only_a_tcb_signer_signs_documents(maker: Maker, quote: Quote, document: str, role: str) -> None:
    """Everything else that the root has certified is for something else."""
    collateral, _signer = two_signers(maker, document)
    other = maker.vendor._leaf(role, OTHER.public_key(), maker.vendor._root, NOW)
    chain = pki._pem(other, maker.vendor._root.certificate).decode()
    forged = replace(collateral, **{f"{document}_issuer_chain": chain})  # type: ignore[arg-type]  # a member
    assert failed(quote, forged, maker.vendor.anchor) == {"attestation.chain.path"}
    assert refused_alone(forged, maker.vendor.anchor) == "attestation.chain.path"


@pytest.mark.parametrize(
    "chain", ["pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"], ids=lambda name: name[:3]
)
def test_all_chains_end_in_the_one_pinned_certificate(maker: Maker, quote: Quote, chain: str) -> None:
    """Another certificate of the root's own key is another root, also where both are accepted."""
    second = authority(maker, "Root CA")
    leaf = x509.load_pem_x509_certificates(getattr(maker.collateral(), chain).encode())[0]
    mixed = replace(maker.collateral(), **{chain: pki._pem(leaf, second).decode()})  # type: ignore[arg-type]
    anchors = (maker.vendor.anchor, TrustAnchor.simulated_root(second.public_bytes(pki.Encoding.DER)))
    assert failed(quote, mixed, *anchors) == {"attestation.chain.anchor"}
    assert refused_alone(mixed, *anchors) == "attestation.chain.anchor"


@pytest.mark.parametrize("document", ["tcb_info", "qe_identity"])
def test_the_lower_evaluation_number_counts(maker: Maker, quote: Quote, document: str) -> None:
    """An old QE identity beside new TCB info, or the reverse, is old collateral."""
    good = maker.collateral()
    value = json.loads(getattr(good, document))
    number = value["tcbEvaluationDataNumber"]
    text = json.dumps(value | {"tcbEvaluationDataNumber": number - 1})
    mixed = maker.documented(replace(good, **{document: text}))  # type: ignore[arg-type]  # a member
    assert failed(quote, good, maker.vendor.anchor, min_evaluation_number=number) == set()
    assert failed(quote, mixed, maker.vendor.anchor, min_evaluation_number=number - 1) == set()
    assert failed(quote, mixed, maker.vendor.anchor, min_evaluation_number=number) == {"attestation.tcb.evaluation"}
