"""Collateral: what a vendor publishes for judging quotes of one kind of platform; fetching and keeping it.

The JSON form has nine text members; CRLs and signatures are hex. Fetching is apart from judging: nothing here decides
whether collateral is genuine or current, :mod:`adyton.attestation.verify` does, so a wrong copy is refused there.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Protocol
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adyton.attestation.chain import MAX_CHAIN_BYTES, MAX_CRL_BYTES, crl_window, parse_crl
from adyton.attestation.errors import AttestationError
from adyton.attestation.pck import CaKind
from adyton.attestation.tcb import parse_qe_identity, parse_tcb_info
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError, InputError, UnavailableError
from adyton.base.files import write_atomic
from adyton.base.log import get_logger
from adyton.web.client import AnswerError, HttpClient

MAX_DOCUMENT_BYTES: Final = 1 << 20
MAX_COLLATERAL_BYTES: Final = 16 << 20
RETRY_AFTER: Final = timedelta(minutes=1)  # between attempts while a refresh fails

_PATH = "/sgx/certification/v4"
_FMSPC = re.compile(r"[0-9a-f]{12}")
_log = get_logger("attestation.collateral")

Chain = Annotated[str, Field(max_length=MAX_CHAIN_BYTES)]
Hex = Annotated[str, Field(pattern=r"^(?:[0-9a-fA-F]{2})+$", max_length=2 * MAX_CRL_BYTES)]
Signature = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{128}$")]
Document = Annotated[str, Field(max_length=MAX_DOCUMENT_BYTES)]


class _Wire(BaseModel):
    """The JSON form."""

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
            raise _error(f"collateral of {len(text)} bytes is over the limit")
        try:
            wire = _Wire.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "document"
            raise _error(f"collateral: {place}: {first['msg']}") from error
        values: dict[str, Any] = wire.model_dump()
        for name in _BINARY:
            values[name] = bytes.fromhex(values[name])
        return cls(**values)

    def to_json(self) -> str:
        """The JSON form."""
        return json.dumps({k: v.hex() if isinstance(v, bytes) else v for k, v in asdict(self).items()})

    @property
    def digest(self) -> bytes:
        """SHA-256 of the JSON form: names this copy in caches."""
        return _digest(self)

    def window(self) -> tuple[datetime, datetime]:
        """From when to when all dated parts say they hold, unverified: for planning a refresh, not for judging.

        Raises:
            AttestationError: a part that cannot be read.
        """
        tcb, qe = parse_tcb_info(self.tcb_info), parse_qe_identity(self.qe_identity)
        crls = [crl_window(parse_crl(der, "CRL"), "CRL") for der in (self.root_ca_crl, self.pck_crl)]
        return (
            max(tcb.issue_date, qe.issue_date, *(crl.start for crl in crls)),
            min(tcb.next_update, qe.next_update, *(crl.end for crl in crls)),
        )


@lru_cache(maxsize=64)
def _digest(collateral: Collateral) -> bytes:
    return hashlib.sha256(collateral.to_json().encode()).digest()


_BINARY = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")


class CollateralSource(Protocol):
    """Where verifiers get collateral from."""

    def fetch(self, fmspc: str, ca: CaKind) -> Collateral:
        """Collateral for platforms of ``fmspc`` (12 hex digits) with PCK certificates by ``ca``.

        Raises:
            UnavailableError: it cannot be had now.
            AttestationError: what was had cannot be read.
        """


class PccsClient:
    """Fetches from a certificate service with PCS v4 paths: a PCCS, Intel's PCS, or the simulated one.

    Args:
        url: base address; ``/sgx/certification/v4`` is appended.
        options: passed on to the HTTP client.
    """

    def __init__(self, url: str, **options: Any) -> None:  # noqa: ANN401  # httpx2's own
        self._http = HttpClient(url, "certificate service", **options)

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def fetch(self, fmspc: str, ca: CaKind) -> Collateral:
        """As :meth:`CollateralSource.fetch`."""
        fmspc = _checked(fmspc)
        try:
            tcb, tcb_chain = self._document(f"/tcb?fmspc={fmspc}", "tcbInfo", "TCB-Info-Issuer-Chain")
            qe, qe_chain = self._document("/qe/identity", "enclaveIdentity", "SGX-Enclave-Identity-Issuer-Chain")
            pck = self._http.request("GET", f"{_PATH}/pckcrl?ca={ca.value}&encoding=der")
            root = self._http.request("GET", f"{_PATH}/rootcacrl")
        except AnswerError as error:
            raise UnavailableError(
                f"no collateral for FMSPC {fmspc}: {error.message}",
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
        answer = self._http.request("GET", _PATH + path)
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
        raise _error(f"the certificate service's answer is not a signed {member}")
    try:
        return match[1].decode(), bytes.fromhex(match[2].decode())
    except UnicodeDecodeError as error:
        raise _error(f"{member} is not UTF-8") from error


def _issuer_chain(headers: Any, name: str) -> str:  # noqa: ANN401  # httpx2's headers
    value = headers.get(name)
    if not value or len(value) > 3 * MAX_CHAIN_BYTES:
        raise _error(f"the certificate service's answer has no usable {name}")
    return unquote(value)


def _der(body: bytes) -> bytes:
    """A CRL as DER: services answer with DER, hex text or PEM."""
    if len(body) > 2 * MAX_CRL_BYTES:
        raise _error("a CRL is over the limit")
    text = body.strip()
    if re.fullmatch(rb"(?:[0-9a-fA-F]{2})+", text):
        return bytes.fromhex(text.decode())
    return body


def _checked(fmspc: str) -> str:
    text = fmspc.lower()
    if not _FMSPC.fullmatch(text):
        raise InputError(f"{fmspc!r} is not an FMSPC", code="attestation.collateral.fmspc")
    return text


@dataclass(slots=True)
class _Kept:
    collateral: Collateral
    start: datetime
    end: datetime
    tried_at: datetime


class CollateralCache:
    """Keeps collateral, refreshes it from half of its validity on, and outlives outages of its source.

    While a refresh fails, the last good copy serves as long as it is valid; after that the error of the source
    stands: this never hands out expired collateral. Copies with an older issue date or a lower evaluation number than
    the kept one are not taken. Thread-safe.

    Args:
        source: where to fetch.
        clock: decides about validity.
        folder: where to keep copies over restarts; None keeps them in memory only.
    """

    def __init__(self, source: CollateralSource, *, clock: Clock = utc_now, folder: Path | None = None) -> None:
        self._source = source
        self._clock = clock
        self._folder = folder
        self._kept: dict[tuple[str, CaKind], _Kept] = {}
        self._lock = threading.Lock()  # of the two maps
        self._fetching: dict[tuple[str, CaKind], threading.Lock] = {}  # one fetch at a time for each kind of platform

    def fetch(self, fmspc: str, ca: CaKind) -> Collateral:
        """As :meth:`CollateralSource.fetch`, from the cache where that is valid."""
        key = (_checked(fmspc), ca)
        with self._lock:
            fetching = self._fetching.setdefault(key, threading.Lock())
        with fetching:
            now = self._clock()
            kept = self._kept.get(key) or self._load(key)
            if kept is None or not _fresh(kept, now):
                kept = self._refresh(key, kept, now)
            with self._lock:
                self._kept[key] = kept
            return kept.collateral

    def remaining(self) -> dict[str, timedelta]:
        """Validity left, by ``<fmspc>-<ca>``: what to raise an alarm on."""
        with self._lock:
            now = self._clock()
            return {f"{fmspc}-{ca}": kept.end - now for (fmspc, ca), kept in self._kept.items()}

    def _refresh(self, key: tuple[str, CaKind], kept: _Kept | None, now: datetime) -> _Kept:
        usable = kept is not None and kept.start <= now <= kept.end
        try:
            fresh = self._take(key, now)
        except AdytonError as error:
            if kept is None or not usable:
                raise
            _log.warning("collateral not refreshed", fmspc=key[0], code=error.code, valid_until=kept.end.isoformat())
            kept.tried_at = now
            return kept
        if kept is not None and usable and _older(fresh.collateral, kept.collateral):
            _log.warning("older collateral not taken", fmspc=key[0])
            kept.tried_at = now
            return kept
        self._store(key, fresh.collateral)
        return fresh

    def _take(self, key: tuple[str, CaKind], now: datetime) -> _Kept:
        collateral = self._source.fetch(*key)
        start, end = collateral.window()
        if not start <= now <= end:
            raise UnavailableError(
                f"the certificate service has only expired collateral for FMSPC {key[0]} (valid to {end.isoformat()})",
                code="attestation.collateral.expired",
                hint="check the clock, and that the certificate service is refreshed by its vendor",
            )
        return _Kept(collateral, start, end, now)

    def _path(self, key: tuple[str, CaKind]) -> Path | None:
        return None if self._folder is None else self._folder / f"{key[0]}-{key[1].value}.json"

    def _load(self, key: tuple[str, CaKind]) -> _Kept | None:
        path = self._path(key)
        try:
            if path is None or path.stat().st_size > MAX_COLLATERAL_BYTES:
                return None
            collateral = Collateral.from_json(path.read_bytes())
            return _Kept(collateral, *collateral.window(), tried_at=collateral.window()[0])
        except (OSError, AttestationError):
            return None  # an absent or damaged copy is no copy

    def _store(self, key: tuple[str, CaKind], collateral: Collateral) -> None:
        path = self._path(key)
        if path is not None:
            write_atomic(path, collateral.to_json().encode())


def _fresh(kept: _Kept, now: datetime) -> bool:
    if not kept.start <= now <= kept.end:
        return False
    return now < kept.start + (kept.end - kept.start) / 2 or now < kept.tried_at + RETRY_AFTER


def _older(candidate: Collateral, kept: Collateral) -> bool:
    new, old = parse_tcb_info(candidate.tcb_info), parse_tcb_info(kept.tcb_info)
    new_qe, old_qe = parse_qe_identity(candidate.qe_identity), parse_qe_identity(kept.qe_identity)
    return (
        new.tcb_evaluation_data_number < old.tcb_evaluation_data_number
        or new.issue_date < old.issue_date
        or new_qe.issue_date < old_qe.issue_date
    )


def _error(message: str) -> AttestationError:
    return AttestationError(message, code="attestation.collateral.format")
