"""What a quote's 64 bytes of report data mean: SHA-256 of claims, then 32 zero bytes.

Claims are the map of the TCG DICE tagged evidence form (*DICE Attestation Architecture*, tagged evidence; as RA-TLS
implementations use it) in deterministic CBOR (RFC 8949 4.2.1): ``{"pubkey-hash": bstr .cbor [1, SHA-256(SPKI)],
"nonce": bstr, "purpose": tstr}``. All three are required: the key ties the quote to a TLS end, the nonce to now, and
the purpose keeps a quote made for one protocol from serving another.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from typing import Any, Final

import cbor2

from adyton.attestation.errors import AttestationError
from adyton.attestation.sgx import REPORT_DATA_BYTES
from adyton.base.errors import InputError

# Purposes of this project's protocols; one protocol, one purpose.
CAS_CONFIG: Final = "cas-config"  # a service enclave asks a CAS for its configuration
CAS_SERVER: Final = "cas-server"  # a CAS proves itself to an enclave that connects to it
CAS_ATTESTATION: Final = "cas-attestation"  # a CAS proves itself to anybody who asks for its evidence

MIN_NONCE_BYTES: Final = 16
MAX_NONCE_BYTES: Final = 64
MAX_CLAIMS_BYTES: Final = 512

_PURPOSE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_SHA256 = 1  # IANA Named Information Hash Algorithm Registry


@dataclass(frozen=True, slots=True)
class Claims:
    """What a quote is bound to.

    Attributes:
        purpose: the protocol it is for: lower-case words joined by ``-``, at most 64 characters.
        spki_sha256: SHA-256 of the SubjectPublicKeyInfo (DER) that it speaks for.
        nonce: 16 to 64 bytes chosen by who asks for evidence.

    Raises:
        InputError: a member out of these bounds.
    """

    purpose: str
    spki_sha256: bytes
    nonce: bytes

    def __post_init__(self) -> None:
        """Check the bounds."""
        if len(self.purpose) > 64 or not _PURPOSE.fullmatch(self.purpose):
            raise InputError(f"{self.purpose!r} is not a purpose", code="attestation.claims.purpose")
        if len(self.spki_sha256) != 32:
            raise InputError("a key hash has 32 bytes", code="attestation.claims.key")
        if not MIN_NONCE_BYTES <= len(self.nonce) <= MAX_NONCE_BYTES:
            raise InputError(
                f"a nonce of {len(self.nonce)} bytes is too short or long", code="attestation.claims.nonce"
            )

    def to_bytes(self) -> bytes:
        """The deterministic CBOR of the claims."""
        key_hash = cbor2.dumps([_SHA256, self.spki_sha256], canonical=True)
        return bytes(
            cbor2.dumps({"pubkey-hash": key_hash, "nonce": self.nonce, "purpose": self.purpose}, canonical=True)
        )

    @classmethod
    def parse(cls, data: bytes) -> Claims:
        """Read claims; only the bytes that :meth:`to_bytes` makes are accepted.

        Raises:
            AttestationError: ``attestation.claims``.
        """
        members = decode_cbor(data, MAX_CLAIMS_BYTES, "claims")
        if not isinstance(members, dict) or set(members) != {"pubkey-hash", "nonce", "purpose"}:
            raise _error("claims have other members than pubkey-hash, nonce and purpose")
        key_hash, nonce, purpose = members["pubkey-hash"], members["nonce"], members["purpose"]
        if not (isinstance(key_hash, bytes) and isinstance(nonce, bytes) and isinstance(purpose, str)):
            raise _error("a member of the claims has the wrong type")
        pair = decode_cbor(key_hash, MAX_CLAIMS_BYTES, "pubkey-hash")
        if not isinstance(pair, list) or len(pair) != 2 or pair[0] != _SHA256 or not isinstance(pair[1], bytes):
            raise _error("pubkey-hash is not a SHA-256")
        try:
            claims = cls(purpose, pair[1], nonce)
        except InputError as error:
            raise _error(error.message) from error
        if claims.to_bytes() != data:
            raise _error("claims are not in deterministic CBOR")
        return claims

    def report_data(self) -> bytes:
        """The report data that binds a quote to these claims."""
        return report_data(self.to_bytes())


def claims_bytes(purpose: str, spki_der: bytes, nonce: bytes) -> bytes:
    """The claims of a key, encoded.

    Raises:
        InputError: a purpose or nonce out of bounds.
    """
    return Claims(purpose, hashlib.sha256(spki_der).digest(), nonce).to_bytes()


def report_data(claims: bytes) -> bytes:
    """The 64 bytes to quote for encoded claims."""
    return hashlib.sha256(claims).digest() + bytes(REPORT_DATA_BYTES - 32)


def decode_cbor(data: bytes, limit: int, what: str) -> Any:  # noqa: ANN401  # CBOR is any
    """Decode one CBOR item that is all of ``data``.

    Raises:
        AttestationError: ``attestation.claims``.
    """
    if len(data) > limit:
        raise _error(f"{what}: {len(data)} bytes are over the limit of {limit}")
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(stream).decode()
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _error(f"{what}: not CBOR") from error
    if stream.tell() != len(data):
        raise _error(f"{what}: bytes after the end")
    return value


def _error(message: str) -> AttestationError:
    return AttestationError(message, code="attestation.claims")
