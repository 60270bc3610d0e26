"""Fetching collateral over HTTP from services with the paths of Intel's PCS (*PCS API v4*).

Nothing here decides whether collateral is genuine: a wrong copy is refused by its signatures, wherever it came from.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final
from urllib.parse import unquote

from adyton.attestation.chain import MAX_CHAIN_BYTES, MAX_CRL_BYTES
from adyton.attestation.collateral.documents import MAX_DOCUMENT_BYTES, Collateral, PlatformId, collateral_error
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import UnavailableError
from adyton.web.client import AnswerError, HttpClient

_PATH: Final = "/certification/v4"
_TCB_CHAIN: Final = "TCB-Info-Issuer-Chain"
_PEM = re.compile(rb"-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*)-----END X509 CRL-----")
_QE_CHAIN: Final = "SGX-Enclave-Identity-Issuer-Chain"


class PccsClient:
    """Fetches from a certificate service with PCS v4 paths: a PCCS, Intel's PCS, or the simulated one.

    Args:
        url: base address; ``/sgx/certification/v4`` or ``/tdx/certification/v4`` is appended.
        options: passed on to the HTTP client.
    """

    def __init__(self, url: str, **options: Any) -> None:  # noqa: ANN401  # httpx2's own
        self._http = HttpClient(url, "certificate service", **options)

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def fetch(self, fmspc: str, ca: CaKind, kind: EvidenceKind = EvidenceKind.SGX) -> Collateral:
        """As :meth:`CollateralSource.fetch`."""
        platform = PlatformId(fmspc.lower(), ca, kind)
        documents = f"/{kind.value}{_PATH}"
        lists = f"/{EvidenceKind.SGX.value}{_PATH}"  # one PKI signs for both
        try:
            tcb, tcb_chain = self._document(f"{documents}/tcb?fmspc={platform.fmspc}", "tcbInfo", _TCB_CHAIN)
            qe, qe_chain = self._document(f"{documents}/qe/identity", "enclaveIdentity", _QE_CHAIN)
            pck = self._http.request("GET", f"{lists}/pckcrl?ca={ca.value}&encoding=der")
            root = self._http.request("GET", f"{lists}/rootcacrl")
        except AnswerError as error:
            raise UnavailableError(
                f"no collateral for {platform}: {error.message}",
                hint="is the platform's certificate service the one that is configured?",
            ) from error
        return Collateral(
            pck_crl_issuer_chain=_issuer_chain(pck.headers, "SGX-PCK-CRL-Issuer-Chain"),
            root_ca_crl=_der(root.content),
            pck_crl=_der(pck.content),
            tcb_info_issuer_chain=tcb_chain,
            tcb_info=tcb[0],
            tcb_info_signature=tcb[1],
            qe_identity_issuer_chain=qe_chain,
            qe_identity=qe[0],
            qe_identity_signature=qe[1],
        )

    def _document(self, path: str, member: str, header: str) -> tuple[tuple[str, bytes], str]:
        answer = self._http.request("GET", path)
        return split_signed(answer.content, member), _issuer_chain(answer.headers, header)


def split_signed(body: bytes, member: str) -> tuple[str, bytes]:
    """Take ``{"<member>":{…},"signature":"…"}`` apart without re-writing the signed value.

    Returns:
        The exact text of the member, and the signature (64 bytes).

    Raises:
        AttestationError: ``attestation.collateral.format``.
    """
    match = re.fullmatch(
        rb'\s*\{\s*"' + member.encode() + rb'"\s*:\s*(\{.*\})\s*,\s*"signature"\s*:\s*"([0-9a-fA-F]{128})"\s*\}\s*',
        body,
        re.DOTALL,
    )
    if match is None or len(body) > MAX_DOCUMENT_BYTES:
        raise collateral_error(f"the certificate service's answer is not a signed {member}")
    try:
        return match[1].decode(), bytes.fromhex(match[2].decode())
    except UnicodeDecodeError as error:
        raise collateral_error(f"{member} is not UTF-8") from error


def _issuer_chain(headers: Any, name: str) -> str:  # noqa: ANN401  # httpx2's headers
    value = headers.get(name)
    if not value or len(value) > 3 * MAX_CHAIN_BYTES:
        raise collateral_error(f"the certificate service's answer has no usable {name}")
    return unquote(value)


def _der(body: bytes) -> bytes:
    """A CRL as DER: services answer with DER, hex text of it, or PEM, whatever they are asked for."""
    if len(body) > 2 * MAX_CRL_BYTES:
        raise collateral_error("a CRL is over the limit")
    text = body.strip()
    if re.fullmatch(rb"(?:[0-9a-fA-F]{2})+", text):
        return bytes.fromhex(text.decode())
    pem = _PEM.fullmatch(text)
    if pem is None:
        return body
    try:
        return base64.b64decode(b"".join(pem[1].split()), validate=True)
    except ValueError as error:
        raise collateral_error(f"a CRL is no PEM: {error}") from error
