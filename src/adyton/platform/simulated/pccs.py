"""The simulated vendor's certificate service: PCS v4 paths, answers and headers (Intel, *PCS API v4*).

| path | answer |
|---|---|
| ``/sgx/certification/v4/tcb?fmspc=`` | 200 signed TCB info; 400 malformed FMSPC; 404 not a simulated platform |
| ``/sgx/certification/v4/qe/identity`` | 200 signed QE identity |
| ``/sgx/certification/v4/pckcrl?ca=&encoding=`` | 200 CRL, PEM or DER; 400 unknown ``ca``; 404 for ``processor`` |
| ``/sgx/certification/v4/rootcacrl`` | 200 CRL, DER in hex |
| ``/sgx/certification/v4/rootca`` | 200 the simulated root, PEM: for people; verifiers pin its fingerprint |
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import APIRouter, Query, Response

from adyton.base.clock import Clock, utc_now
from adyton.platform.simulated.pki import SimulatedVendor

PREFIX = "/sgx/certification/v4"


def build_router(vendor: SimulatedVendor, *, clock: Clock = utc_now) -> APIRouter:
    """The routes of ``vendor``'s certificate service, to include in any application."""
    router = APIRouter(prefix=PREFIX, tags=["simulated certificate service"])

    @router.get("/tcb")
    def tcb(fmspc: Annotated[str, Query(max_length=64)]) -> Response:
        if len(fmspc) != 12 or not all(digit in "0123456789abcdefABCDEF" for digit in fmspc):
            return Response(status_code=400)
        if fmspc.lower() != vendor.fmspc:
            return Response(status_code=404)
        current = vendor.collateral(clock())
        body = _signed("tcbInfo", current.tcb_info, current.tcb_info_signature)
        return _with_chain(body, "application/json", "TCB-Info-Issuer-Chain", current.tcb_info_issuer_chain)

    @router.get("/qe/identity")
    def qe_identity() -> Response:
        current = vendor.collateral(clock())
        body = _signed("enclaveIdentity", current.qe_identity, current.qe_identity_signature)
        chain = current.qe_identity_issuer_chain
        return _with_chain(body, "application/json", "SGX-Enclave-Identity-Issuer-Chain", chain)

    @router.get("/pckcrl")
    def pckcrl(ca: Literal["processor", "platform"], encoding: Literal["pem", "der"] = "pem") -> Response:
        if ca == "processor":
            return Response(status_code=404)
        current = vendor.collateral(clock())
        body = current.pck_crl
        if encoding == "pem":
            body = x509.load_der_x509_crl(body).public_bytes(Encoding.PEM)
        media = "application/pkix-crl" if encoding == "der" else "application/x-pem-file"
        return _with_chain(body, media, "SGX-PCK-CRL-Issuer-Chain", current.pck_crl_issuer_chain)

    @router.get("/rootcacrl")
    def rootcacrl() -> Response:
        return Response(vendor.collateral(clock()).root_ca_crl.hex(), media_type="text/plain")

    @router.get("/rootca")
    def rootca() -> Response:
        pem = x509.load_der_x509_certificate(vendor.root_der).public_bytes(Encoding.PEM)
        return Response(pem, media_type="application/x-pem-file")

    return router


def _signed(member: str, text: str, signature: bytes) -> bytes:
    """The signed value verbatim: writing it anew could change the bytes that are signed."""
    return f'{{"{member}":{text},"signature":"{signature.hex()}"}}'.encode()


def _with_chain(body: bytes, media_type: str, header: str, chain: str) -> Response:
    return Response(body, media_type=media_type, headers={header: quote(chain, safe="")})
