"""Collateral: what a vendor publishes for judging quotes of one kind of platform, as a value and as JSON.

The JSON form has nine text members; CRLs and signatures are hex. Nothing here decides whether collateral is genuine or
current, :mod:`adyton.attestation.dcap.judge` does. Fetching is :mod:`adyton.attestation.collateral.pccs`, keeping
:mod:`adyton.attestation.collateral.cache`, carrying to hosts without a network
:mod:`adyton.attestation.collateral.bundle`.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adyton.attestation.chain import (
    MAX_CHAIN_BYTES,
    MAX_CRL_BYTES,
    common_name,
    crl_window,
    parse_chain,
    parse_crl,
    window_of,
)
from adyton.attestation.dcap.pck import CaKind, named_ca
from adyton.attestation.dcap.tcb import parse_qe_identity, parse_tcb_info
from adyton.attestation.errors import AttestationError
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import InputError

MAX_DOCUMENT_BYTES: Final = 1 << 20
MAX_COLLATERAL_BYTES: Final = 16 << 20

_FMSPC = re.compile(r"[0-9a-f]{12}")

Chain = Annotated[str, Field(max_length=MAX_CHAIN_BYTES)]
Hex = Annotated[str, Field(pattern=r"^(?:[0-9a-fA-F]{2})+$", max_length=2 * MAX_CRL_BYTES)]
Signature = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{128}$")]
Document = Annotated[str, Field(max_length=MAX_DOCUMENT_BYTES)]


@dataclass(frozen=True, slots=True)
class PlatformId:
    """Which collateral is meant.

    Attributes:
        fmspc: family, model, stepping, platform, custom SKU: 12 lowercase hex digits.
        ca: which intermediate issued the PCK certificate.
        kind: SGX or TDX.

    Raises:
        InputError: ``attestation.collateral.fmspc`` or ``attestation.collateral.kind``.
    """

    fmspc: str
    ca: CaKind
    kind: EvidenceKind = EvidenceKind.SGX

    def __post_init__(self) -> None:
        """Let nothing else become part of a path or file name."""
        if not _FMSPC.fullmatch(self.fmspc):
            raise InputError(f"{self.fmspc!r} is not an FMSPC", code="attestation.collateral.fmspc")
        if self.kind not in {EvidenceKind.SGX, EvidenceKind.TDX}:
            raise InputError(f"there is no collateral for {self.kind}", code="attestation.collateral.kind")

    def __str__(self) -> str:
        """As in file names and messages."""
        return f"{self.kind.value}-{self.fmspc}-{self.ca.value}"


class Wire(BaseModel):
    """The JSON form; other tools' files may also carry the PCK chain, which quotes have themselves."""

    model_config = ConfigDict(strict=True, extra="forbid")

    pck_crl_issuer_chain: Chain
    root_ca_crl: Hex
    pck_crl: Hex
    tcb_info_issuer_chain: Chain
    tcb_info: Document
    tcb_info_signature: Signature
    qe_identity_issuer_chain: Chain
    qe_identity: Document
    qe_identity_signature: Signature
    pck_certificate_chain: Chain | None = None


@dataclass(frozen=True, slots=True)
class Collateral:
    """Collateral as it came, unverified.

    Attributes:
        pck_crl_issuer_chain: PEM: the intermediate that issues PCK certificates, the root.
        root_ca_crl, pck_crl: DER.
        tcb_info_issuer_chain, qe_identity_issuer_chain: PEM: the TCB signer, the root.
        tcb_info, qe_identity: the exact text that the signatures (r||s, 64 bytes) are over.
    """

    pck_crl_issuer_chain: str
    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: bytes
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: bytes

    @classmethod
    def from_json(cls, text: str | bytes) -> Collateral:
        """Read the JSON form.

        Raises:
            AttestationError: ``attestation.collateral.format``.
        """
        if len(text) > MAX_COLLATERAL_BYTES:
            raise collateral_error(f"collateral of {len(text)} bytes is over the limit")
        try:
            wire = Wire.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "document"
            raise collateral_error(f"collateral: {place}: {first['msg']}") from error
        return cls.of_wire(wire)

    @classmethod
    def of_wire(cls, wire: Wire) -> Collateral:
        """The collateral of its JSON form, read."""
        values: dict[str, Any] = wire.model_dump(exclude={"pck_certificate_chain"})
        for name in _BINARY:
            values[name] = bytes.fromhex(values[name])
        return cls(**values)

    def to_json(self) -> str:
        """The JSON form."""
        return json.dumps(self.to_document())

    def to_document(self) -> dict[str, str]:
        """The members of the JSON form."""
        return {k: v.hex() if isinstance(v, bytes) else v for k, v in asdict(self).items()}

    @property
    def digest(self) -> bytes:
        """SHA-256 of the JSON form: names this copy in caches."""
        return _digest(self)

    @property
    def platform(self) -> PlatformId:
        """Which platforms it says it is for, unverified.

        Raises:
            AttestationError: a part that cannot be read.
        """
        return _platform(self)

    def window(self) -> tuple[datetime, datetime]:
        """From when to when all dated parts say they hold, unverified: for planning a refresh, not for judging.

        Raises:
            AttestationError: a part that cannot be read.
        """
        return _window(self)


@lru_cache(maxsize=64)
def _digest(collateral: Collateral) -> bytes:
    return hashlib.sha256(collateral.to_json().encode()).digest()


@lru_cache(maxsize=64)
def _window(collateral: Collateral) -> tuple[datetime, datetime]:
    tcb, qe = parse_tcb_info(collateral.tcb_info), parse_qe_identity(collateral.qe_identity)
    chains = (collateral.pck_crl_issuer_chain, collateral.tcb_info_issuer_chain, collateral.qe_identity_issuer_chain)
    windows = [
        *(crl_window(parse_crl(der, "CRL"), "CRL") for der in (collateral.root_ca_crl, collateral.pck_crl)),
        *(window_of(each) for pem in chains for each in parse_chain(pem.encode(), 2, "an issuer chain")),
    ]
    return (
        max(tcb.issue_date, qe.issue_date, *(window.start for window in windows)),
        min(tcb.next_update, qe.next_update, *(window.end for window in windows)),
    )


@lru_cache(maxsize=64)
def _platform(collateral: Collateral) -> PlatformId:
    info = parse_tcb_info(collateral.tcb_info)
    issuer = common_name(parse_crl(collateral.pck_crl, "the PCK CRL").issuer)
    return PlatformId(info.fmspc.hex(), named_ca(issuer), info.kind)


_BINARY = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")


class CollateralSource(Protocol):
    """Where verifiers get collateral from."""

    def fetch(self, fmspc: str, ca: CaKind, kind: EvidenceKind = EvidenceKind.SGX) -> Collateral:
        """Collateral for quotes of ``kind`` from platforms of ``fmspc`` (12 hex digits), certified by ``ca``.

        Raises:
            UnavailableError: it cannot be had now.
            AttestationError: what was had cannot be read.
            InputError: no FMSPC, or a technology without collateral.
        """


def collateral_error(message: str) -> AttestationError:
    """The error for collateral that cannot be read."""
    return AttestationError(message, code="attestation.collateral.format")
