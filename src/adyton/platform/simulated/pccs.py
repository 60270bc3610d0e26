"""The simulated vendor's certificate service: PCS v4 paths, answers and headers (Intel, *PCS API v4*).

| path | answer |
|---|---|
| ``/sgx/certification/v4/tcb?fmspc=``, ``/tdx/…`` | 200 signed TCB info |
| ``/sgx/certification/v4/qe/identity``, ``/tdx/…`` | 200 signed enclave identity |
| ``/sgx/certification/v4/pckcrl?ca=&encoding=`` | 200 CRL, PEM or DER; 404 for ``processor``: there is no such CA |
| ``/sgx/certification/v4/rootcacrl`` | 200 CRL, DER in hex |
| ``/sgx/certification/v4/rootca`` | 200 the simulated root, PEM: for people; verifiers pin its fingerprint |

TCB info and identities take ``update=standard|early``, or ``tcbEvaluationDataNumber=``: 400 where both are given, 404
for a number that is not published yet (and for an FMSPC that is not the vendor's), 410 for one that is out of print.
A parameter that is missing or malformed is 400. Every answer has a ``Request-ID``; issuer chains are URL-encoded.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import APIRouter, Depends, Query, Response

from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.verdict import EvidenceKind
from adyton.base.clock import Clock, utc_now
from adyton.platform.simulated.pki import SimulatedVendor, Update

PREFIX: Final = "/sgx/certification/v4"
TDX_PREFIX: Final = "/tdx/certification/v4"

_FMSPC: Final = re.compile(r"[0-9a-fA-F]{12}")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")

Parameter: TypeAlias = str | None


@dataclass(frozen=True, slots=True)
class _Edition:
    """Which documents a request asks for, as it came."""

    update: str | None
    number: str | None


def _edition(
    update: Parameter = None,
    number: Annotated[str | None, Query(alias="tcbEvaluationDataNumber")] = None,
) -> _Edition:
    return _Edition(update, number)


Edition = Annotated[_Edition, Depends(_edition)]


def build_router(vendor: SimulatedVendor, *, clock: Clock = utc_now) -> APIRouter:
    """The routes of ``vendor``'s certificate service, to include in any application."""
    router = APIRouter(tags=["simulated certificate service"])
    router.include_router(_documents(vendor, clock, EvidenceKind.SGX), prefix=PREFIX)
    router.include_router(_documents(vendor, clock, EvidenceKind.TDX), prefix=TDX_PREFIX)
    router.include_router(_certificates(vendor, clock), prefix=PREFIX)
    return router


def _documents(vendor: SimulatedVendor, clock: Clock, kind: EvidenceKind) -> APIRouter:
    """TCB info and enclave identity for evidence of one technology."""
    router = APIRouter()

    @router.get("/tcb")
    def tcb(edition: Edition, fmspc: Parameter = None) -> Response:
        if fmspc is None or not _FMSPC.fullmatch(fmspc):
            return _refusal(400, "fmspc is 12 hex digits")
        if fmspc.lower() != vendor.fmspc:
            return _refusal(404, "no simulated platform has this FMSPC")
        current = _published(vendor, clock, kind, edition)
        if isinstance(current, Response):
            return current
        body = _signed("tcbInfo", current.tcb_info, current.tcb_info_signature)
        return _answer(body, "application/json", "TCB-Info-Issuer-Chain", current.tcb_info_issuer_chain)

    @router.get("/qe/identity")
    def qe_identity(edition: Edition) -> Response:
        current = _published(vendor, clock, kind, edition)
        if isinstance(current, Response):
            return current
        body = _signed("enclaveIdentity", current.qe_identity, current.qe_identity_signature)
        chain = current.qe_identity_issuer_chain
        return _answer(body, "application/json", "SGX-Enclave-Identity-Issuer-Chain", chain)

    return router


def _certificates(vendor: SimulatedVendor, clock: Clock) -> APIRouter:
    """What is the same for all technologies of a platform."""
    router = APIRouter()

    @router.get("/pckcrl")
    def pckcrl(ca: Parameter = None, encoding: Parameter = None) -> Response:
        if ca not in {"processor", "platform"} or encoding not in {None, "pem", "der"}:
            return _refusal(400, "ca is processor or platform, encoding is pem or der")
        if ca == "processor":
            return _refusal(404, "the simulated vendor has no Processor CA")
        current = vendor.collateral(clock())
        body, media = current.pck_crl, "application/pkix-crl"
        if encoding != "der":
            body, media = x509.load_der_x509_crl(body).public_bytes(Encoding.PEM), "application/x-pem-file"
        return _answer(body, media, "SGX-PCK-CRL-Issuer-Chain", current.pck_crl_issuer_chain)

    @router.get("/rootcacrl")
    def rootcacrl() -> Response:
        return _answer(vendor.collateral(clock()).root_ca_crl.hex().encode(), "text/plain")

    @router.get("/rootca")
    def rootca() -> Response:
        pem = x509.load_der_x509_certificate(vendor.root_der).public_bytes(Encoding.PEM)
        return _answer(pem, "application/x-pem-file")

    return router


def _published(vendor: SimulatedVendor, clock: Clock, kind: EvidenceKind, edition: _Edition) -> Collateral | Response:
    """The documents of one edition, or why there are none."""
    if edition.update is not None and edition.number is not None:
        return _refusal(400, "update and tcbEvaluationDataNumber exclude each other")
    if edition.number is None:
        if edition.update not in {None, *Update}:
            return _refusal(400, "update is standard or early")
        return vendor.collateral(clock(), kind, Update(edition.update or Update.STANDARD))
    if not _NUMBER.fullmatch(edition.number):
        return _refusal(400, "tcbEvaluationDataNumber is a number")
    numbers = {vendor.catalogue.evaluation_number: Update.STANDARD}
    if vendor.early is not None:
        numbers.setdefault(vendor.early.evaluation_number, Update.EARLY)
    wanted = int(edition.number)
    if wanted in numbers:
        return vendor.collateral(clock(), kind, numbers[wanted])
    return _refusal(410 if wanted < min(numbers) else 404, "there are no documents of this evaluation number")


def _signed(member: str, text: str, signature: bytes) -> bytes:
    """The signed value verbatim: writing it anew could change the bytes that are signed."""
    return f'{{"{member}":{text},"signature":"{signature.hex()}"}}'.encode()


def _answer(body: bytes, media_type: str, header: str = "", chain: str = "") -> Response:
    headers = {"Request-ID": uuid.uuid4().hex} | ({header: quote(chain, safe="")} if header else {})
    return Response(body, media_type=media_type, headers=headers)


def _refusal(status: int, message: str) -> Response:
    code = {400: "InvalidRequestSyntax", 404: "NotFound", 410: "Gone"}[status]
    headers = {"Request-ID": uuid.uuid4().hex, "Error-Code": code, "Error-Message": message}
    return Response(status_code=status, headers=headers)
