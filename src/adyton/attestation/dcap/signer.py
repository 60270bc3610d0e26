"""Who signs a platform's quotes: the quoting enclave, its attestation key and, for trust domains, the TDX module.

Like :mod:`adyton.attestation.dcap.judge` this depends on neither the time nor the policy, nor on the program that a
quote is of; it is the same for all quotes that a platform makes until it is updated.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from adyton.attestation import chain
from adyton.attestation.checks import Recorder
from adyton.attestation.dcap.judge import Documents, Pck
from adyton.attestation.dcap.levels import TcbVerdict, check_module, match
from adyton.attestation.dcap.tcb import check_platform, check_qe
from adyton.attestation.errors import AttestationError, Finding
from adyton.attestation.formats.quote import Body, Quote, QuoteHeader
from adyton.attestation.formats.sgx import REPORT_DATA_BYTES, ReportBody
from adyton.attestation.formats.tdx import TdReport, TdReport15
from adyton.attestation.verdict import EvidenceKind

AUTH_BYTES: Final = 32  # in the quotes of every quoting enclave, and all that other verifiers accept

_DESCRIPTOR_BYTES: Final = 6  # of a body in version 5: its type and size
_OUTER_BYTES: Final = 6  # of the outer certification data in versions 4 and 5: its type and length
_LENGTH_BYTES: Final = 4  # of the signature data
_QE_BYTES: Final = ReportBody.LAYOUT.size + 64 + 2  # QE report, its signature, length of the authentication data
_MODULE_BYTES: Final = 120  # of a TD report: TEE_TCB_SVN, MRSEAM, MRSIGNERSEAM, SEAMATTRIBUTES
_REPORT_DATA: Final[Mapping[type[Body], int]] = MappingProxyType({ReportBody: 320, TdReport: 520, TdReport15: 520})


@dataclass(frozen=True, slots=True)
class JudgedSigner:
    """The outcome for what signs a platform's quotes, under one PCK chain and one copy of collateral.

    Attributes:
        key: the attestation key; None where it is no point of the curve.
        tcb: the levels of platform, quoting enclave and TDX module.
        findings, errors: the outcomes.
    """

    key: ec.EllipticCurvePublicKey | None
    tcb: TcbVerdict | None
    findings: tuple[Finding, ...]
    errors: Mapping[str, AttestationError]


def judge_signer(quote: Quote | None, documents: Documents | None, pck: Pck | None) -> JudgedSigner:
    """Check the quoting enclave, the attestation key and the TDX module of a quote, and find their TCB levels.

    This is the same for all quotes that a platform makes until it is updated; :func:`signer_bytes` is what it is of.
    """
    record = Recorder()
    kind = None if quote is None else quote.kind
    record.run("attestation.tcb.platform", _check_platform, documents, kind, pck, tell=str)
    record.run("attestation.qe.signature", _check_qe_report, quote, pck)
    record.run("attestation.qe.binding", _check_binding, quote)
    record.run("attestation.qe.identity", _check_qe_identity, documents, kind, quote, tell=str)
    if quote is not None and isinstance(quote.body, TdReport):
        record.run("attestation.tdx.module", _check_module, documents, quote.body, tell=str)
    tcb = record.run("attestation.tcb.level", _find_level, documents, pck, quote, tell=_tell_level)
    return JudgedSigner(None if quote is None else chain.point_key(quote.attestation_key), tcb, *record.outcome)


def signed_size(quote: Quote) -> int:
    """How many of a quote's first bytes the attestation key signs: header and body, with what lies between."""
    descriptor = _DESCRIPTOR_BYTES if quote.version == 5 else 0
    return QuoteHeader.LAYOUT.size + descriptor + type(quote.body).LAYOUT.size


def signer_bytes(quote: Quote, data: bytes) -> bytes:
    """All bytes of a quote that :func:`judge_signer` looks at, beside the PCK chain: a name for its judgement.

    Args:
        quote: as parsed.
        data: what it was parsed from. Parsing is strict, so these bytes are the fields, without writing them anew.
    """
    body_end = signed_size(quote)
    outer = 0 if quote.version == 3 else _OUTER_BYTES
    start = body_end + _LENGTH_BYTES + len(quote.signature)
    end = start + len(quote.attestation_key) + outer + _QE_BYTES + len(quote.auth)
    module = b""
    if isinstance(quote.body, TdReport):
        body = body_end - type(quote.body).LAYOUT.size
        module = data[body : body + _MODULE_BYTES]
        if isinstance(quote.body, TdReport15):
            module += quote.body.tee_tcb_svn2
    return b"%s %d %d " % (quote.kind.encode(), quote.version, len(quote.auth)) + data[start:end] + module


def program_bytes(quote: Quote, data: bytes) -> bytes:
    """All bytes that the attestation key signs but for the report data: what runs, and as what it was started.

    Args:
        quote: as parsed.
        data: what it was parsed from.
    """
    signed = data[: signed_size(quote)]
    start = len(signed) - type(quote.body).LAYOUT.size + _REPORT_DATA[type(quote.body)]
    return signed[:start] + signed[start + REPORT_DATA_BYTES :]


def _check_platform(documents: Documents, kind: EvidenceKind, pck: Pck) -> str:
    check_platform(documents.tcb_info, kind, pck.extension)
    smt = {None: "SMT unknown", True: "SMT on", False: "SMT off"}[pck.extension.smt]
    return f"FMSPC {pck.extension.fmspc.hex()}, PCEID {pck.extension.pceid.hex()}, {pck.ca.value} CA, {smt}"


def _check_qe_report(quote: Quote, pck: Pck) -> None:
    if not chain.verify_raw(pck.key, quote.qe_report_signature, quote.qe_report.to_bytes()):
        raise AttestationError("the QE report is not signed by the PCK key", code="attestation.qe.signature")


def _check_binding(quote: Quote) -> None:
    if len(quote.auth) != AUTH_BYTES:
        raise AttestationError(
            f"QE authentication data of {len(quote.auth)} bytes, not {AUTH_BYTES}", code="attestation.qe.binding"
        )
    expected = hashlib.sha256(quote.attestation_key + quote.auth).digest() + bytes(32)
    if not hmac.compare_digest(quote.qe_report.report_data, expected):
        raise AttestationError("the QE report does not bind the attestation key", code="attestation.qe.binding")


def _check_qe_identity(documents: Documents, kind: EvidenceKind, quote: Quote) -> str:
    check_qe(documents.qe_identity, kind, quote.qe_report)
    return f"{documents.qe_identity.id}, ISVSVN {quote.qe_report.isvsvn}"


def _check_module(documents: Documents, td: TdReport) -> str:
    return check_module(documents.tcb_info, td)


def _find_level(documents: Documents, pck: Pck, quote: Quote) -> TcbVerdict:
    td = quote.body if isinstance(quote.body, TdReport) else None
    return match(documents.tcb_info, documents.qe_identity, pck.extension, quote.qe_report, td)


def _tell_level(tcb: TcbVerdict) -> str:
    return ", ".join((tcb.status.value, *tcb.advisories))
