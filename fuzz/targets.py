"""One target for every reader of bytes from outside.

A target takes any bytes. A reader may refuse them only by an :class:`~adyton.base.errors.AdytonError`; whatever else
it raises is a fault, and so is :class:`ViolationError`: what was read does not write back to the same bytes.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from fuzz.specimen import NOW, Maker, simulated

from adyton.attestation import chain, envelope, material, policyfile
from adyton.attestation.collateral import bundle, pccs
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap import pck
from adyton.attestation.dcap.quote_verdict import appraise_quote
from adyton.attestation.dcap.tcb import parse_qe_identity, parse_tcb_info
from adyton.attestation.formats.layout import Structure
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.formats.report_data import Claims, read_claims
from adyton.attestation.formats.sgx import Attributes, KeyRequest, Report, ReportBody, TargetInfo
from adyton.attestation.formats.tdx import TdReport, TdReport15
from adyton.attestation.nitro import cose
from adyton.attestation.nitro.appraise import appraise_document
from adyton.attestation.nitro.document import parse_document
from adyton.attestation.policy import HealthPolicy
from adyton.attestation.ratls import certificate as ratls
from adyton.attestation.ratls import forms as tls_forms
from adyton.attestation.snp.appraise import appraise_report
from adyton.attestation.snp.report import parse_report
from adyton.base.errors import AdytonError
from adyton.base.yamltree import load_tree
from adyton.cas.language.session import parse_session
from adyton.enclave.manifest import Manifest
from adyton.enclave.sigstruct import SigStruct
from adyton.platform import framing, sealing
from adyton.platform.simulated import request
from fuzz import seeds, service_targets

_STRUCTURES: Final[tuple[type[Structure], ...]] = (
    Attributes, ReportBody, Report, TargetInfo, KeyRequest, TdReport, TdReport15,
)  # fmt: skip
_MAX_FRAMED: Final = 60_000  # what a socket buffer takes without a reader


class ViolationError(Exception):
    """What was read does not say the same as the bytes that it was read from."""


@dataclass(frozen=True, slots=True)
class Target:
    """A reader under test.

    Attributes:
        run: takes any bytes; raises for a fault or a refusal.
        seeds: makes bytes that it reads with success, and some that are close to that.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]

    def check(self, data: bytes) -> bool:
        """Whether ``data`` is read; a fault passes through."""
        try:
            self.run(data)
        except AdytonError:
            return False
        return True


def _same(data: bytes, again: bytes) -> None:
    if again != data:
        raise ViolationError(f"{len(data)} bytes were read that are written as {again.hex()}")


def _quote(data: bytes) -> None:
    _same(data, parse_quote(data).to_bytes())


def _structures(data: bytes) -> None:
    kinds = [kind for kind in _STRUCTURES if kind.LAYOUT.size == len(data)]
    for kind in kinds or _STRUCTURES:
        _same(data, kind.parse(data).to_bytes())


def _sigstruct(data: bytes) -> None:
    parsed = SigStruct.parse(data)
    _same(data, parsed.to_bytes())
    parsed.verify()


def _manifest(data: bytes) -> None:
    _same(data, Manifest.from_json(data).to_json())


def _pck_extension(data: bytes) -> None:
    parsed = pck.PckExtension.parse(data)
    if pck.PckExtension.parse(parsed.to_der()) != parsed:
        raise ViolationError("an SGX extension is another one when written and read again")


def _chain(data: bytes) -> None:
    count = max(1, min(data.count(b"-----BEGIN"), 3))
    certificates = chain.parse_chain(data, count, "a chain")
    for each in certificates:
        _ = (chain.window_of(each), chain.fingerprint(each), chain.spki(each))
    chain.check_path(certificates, "a chain")


def _certificate(data: bytes) -> None:
    certificate = chain.load_certificate(data, "a certificate")
    _ = (pck.extension_of(certificate), pck.ca_kind(certificate))


def _crl(data: bytes) -> None:
    crl = chain.parse_crl(data, "a list")
    chain.crl_window(crl, "a list")
    issuer, *_rest = chain.parse_chain(_maker().collateral().pck_crl_issuer_chain.encode(), 2, "a chain")
    chain.check_crl(crl, issuer, "a list")
    chain.check_not_revoked(crl, issuer)


def _text(read: Callable[[str], object]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return  # callers have text
        read(text)

    return run


def _collateral(data: bytes) -> None:
    parsed = Collateral.from_json(data)
    if Collateral.from_json(parsed.to_json()) != parsed:
        raise ViolationError("collateral is other collateral when written and read again")


def _signed_document(data: bytes) -> None:
    member = "tcbInfo" if b"tcbInfo" in data else "enclaveIdentity"
    text, signature = pccs.split_signed(data, member)
    if text.encode() not in data or signature.hex() not in data.decode().lower():
        raise ViolationError("what is taken out of a signed document is not in it")


def _ratls_certificate(data: bytes) -> None:
    tls_forms.claimed_nonce(data)
    quote, _claims = ratls.extract(data)
    if quote not in data:
        raise ViolationError("the quote of a certificate is not in it")
    ratls.open_certificate(data, purpose=seeds.PURPOSE, nonce=seeds.NONCE, now=NOW)


def _ratls_extension(data: bytes) -> None:
    """An extension of any content in a certificate that is otherwise right: behind the check of its signature."""
    ratls.open_certificate(seeds.certificate_with(data), purpose=seeds.PURPOSE, nonce=seeds.NONCE, now=NOW)


def _tagged_evidence(data: bytes) -> None:
    _quote_bytes, claims = tls_forms.split_tagged_evidence(data)
    read_claims(claims)


def _claims(data: bytes) -> None:
    read_claims(data)
    _same(data, Claims.parse(data).to_bytes())


def _sealed(data: bytes) -> None:
    platform = seeds.enclave()
    sealing.key_request(data)
    sealing.is_stale(platform, data)
    if sealing.unseal(platform, data, seeds.CONTEXT) != seeds.PLAINTEXT:
        raise ViolationError("a sealed blob opens to what was not sealed")


def _request(data: bytes) -> None:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return  # framing refuses these
    if isinstance(message, dict):
        (request.parse_prepare if message.get("op") == "prepare" else request.parse)(message)


def _framing(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data[:_MAX_FRAMED])
        theirs.shutdown(socket.SHUT_WR)
        receiver = framing.Receiver(ours)
        while receiver.receive() is not None:
            pass


def _snp(data: bytes) -> None:
    judge = HealthPolicy(anchors=(seeds.snp_machine().anchor,))
    if appraise_report(data, seeds.snp_certificates(), judge, NOW).trusted:
        signed = {parse_report(each).signed_bytes for each in seeds.snp_reports()}
        if parse_report(data).signed_bytes not in signed:
            raise ViolationError("a changed SNP report is trusted")
    _same(data, parse_report(data).to_bytes())


def _nitro(data: bytes) -> None:
    judge = HealthPolicy(anchors=(seeds.nitro_enclave().anchor,))
    if appraise_document(data, judge, NOW).trusted:
        signed = {parse_document(each).message.signed_bytes for each in seeds.nitro_documents()}
        if parse_document(data).message.signed_bytes not in signed:
            raise ViolationError("a changed Nitro document is trusted")
    parse_document(data)


@lru_cache(maxsize=1)
def _maker() -> Maker:
    return Maker()


@lru_cache(maxsize=1)
def _judges() -> list[tuple[Collateral, HealthPolicy, frozenset[bytes]]]:
    stock = simulated()
    genuine = frozenset(each.quote for each in stock)
    return [(each.collateral, HealthPolicy(anchors=(each.anchor,)), genuine) for each in (stock[0], stock[-1])]


def _appraisal(data: bytes) -> None:
    """Evidence is never the cause of an error, and only what was signed is trusted."""
    for collateral, judge, genuine in _judges():
        if appraise_quote(data, collateral, judge, NOW).trusted and not any(data.startswith(q) for q in genuine):
            raise ViolationError("a changed quote is trusted")


def _platform_collateral(data: bytes) -> None:
    """Collateral of any content with a genuine quote: never an error."""
    parsed = Collateral.from_json(data)
    stock = simulated()[0]
    appraise_quote(stock.quote, parsed, HealthPolicy(anchors=(stock.anchor,)), NOW)


def _ignoring(read: Callable[[bytes], Any]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        read(data)

    return run


TARGETS: Final = MappingProxyType(
    {
        "quote": Target(_quote, seeds.quotes),
        "structures": Target(_structures, seeds.structures),
        "sigstruct": Target(_sigstruct, seeds.sigstructs),
        "manifest": Target(_manifest, seeds.manifests),
        "pck_extension": Target(_pck_extension, seeds.pck_extensions),
        "chain": Target(_chain, seeds.chains),
        "certificate": Target(_certificate, seeds.certificate_list),
        "crl": Target(_crl, seeds.crls),
        "tcb_info": Target(_text(parse_tcb_info), seeds.tcb_infos),
        "qe_identity": Target(_text(parse_qe_identity), seeds.qe_identities),
        "collateral": Target(_collateral, seeds.collaterals),
        "signed_document": Target(_signed_document, seeds.signed_documents),
        "ratls_certificate": Target(_ratls_certificate, seeds.ratls_certificates),
        "ratls_extension": Target(_ratls_extension, seeds.ratls_extensions),
        "tagged_evidence": Target(_tagged_evidence, seeds.tagged_evidence),
        "claims": Target(_claims, seeds.claims),
        "sealed": Target(_sealed, seeds.sealed),
        "request": Target(_request, seeds.requests),
        "framing": Target(_framing, seeds.frames),
        "policy_file": Target(_ignoring(policyfile.read_policy), seeds.policy_files),
        "envelope": Target(_ignoring(envelope.open_envelope), seeds.envelopes),
        "material": Target(_ignoring(material.read_material), seeds.materials),
        "bundle": Target(_ignoring(bundle.read_bundle), seeds.bundles),
        "snp_report": Target(_snp, seeds.snp_reports),
        "nitro_document": Target(_nitro, seeds.nitro_documents),
        "cose": Target(_ignoring(cose.parse_sign1), seeds.nitro_documents),
        "yaml": Target(_ignoring(load_tree), seeds.policy_files),
        "session": Target(_ignoring(parse_session), seeds.sessions),
        "sms_signature": Target(service_targets.signature, service_targets.signatures),
        "sms_authorization": Target(service_targets.authorized, service_targets.authorizations),
        "sms_environment": Target(service_targets.environment, service_targets.environments),
        "sms_settings_file": Target(service_targets.settings_file, service_targets.settings_files),
        "sms_backup": Target(service_targets.backup, service_targets.backups),
        "deal_params": Target(service_targets.deal_params, service_targets.deals),
        "cas_request": Target(service_targets.request, service_targets.requests),
        "appraisal": Target(_appraisal, seeds.quotes),
        "platform_collateral": Target(_platform_collateral, seeds.collaterals),
    }
)
