"""What a quote's 64 bytes of report data mean: SHA-256 of claims, then 32 zero bytes.

Claims are the map of the TCG DICE tagged evidence form (*DICE Attestation Architecture*, tagged evidence; as RA-TLS
implementations use it) in deterministic CBOR (RFC 8949 4.2.1): ``{"pubkey-hash": bstr .cbor [1, SHA-256(SPKI)],
"nonce": bstr, "purpose": tstr}``. All three are required: the key ties the quote to a TLS end, the nonce to now, and
the purpose keeps a quote made for one protocol from serving another.

:class:`ForeignClaims` is what other implementations write in the same place: no purpose, often no nonce.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import re
from dataclasses import dataclass
from typing import Any, Final

import cbor2

from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.sgx import REPORT_DATA_BYTES
from adyton.base.errors import InputError

# Purposes of this project's protocols; one protocol, one purpose.
CAS_CONFIG: Final = "cas-config"  # a service enclave asks a CAS for its configuration
CAS_KEYS: Final = "cas-enclave-key"  # a service enclave has a key of its own exchanged by a CAS
CAS_SERVER: Final = "cas-server"  # a CAS proves itself to an enclave that connects to it
CAS_ATTESTATION: Final = "cas-attestation"  # a CAS proves itself to anybody who asks for its evidence
SMS_SERVER: Final = "sms-server"  # an SMS shows what it is to whoever connects to its TLS port
SMS_ATTESTATION: Final = "sms-attestation"  # an SMS proves itself to who is about to give it a secret

MIN_NONCE_BYTES: Final = 16
MAX_NONCE_BYTES: Final = 64
MAX_CLAIMS_BYTES: Final = 512

_PURPOSE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_SHA256 = 1
_HASHES: Final = {_SHA256: "sha256", 7: "sha384", 8: "sha512"}  # IANA Named Information Hash Algorithm Registry
_MAX_DEPTH = 4


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
        return cls._of(_members(data), data)

    @classmethod
    def _of(cls, members: dict[Any, Any], data: bytes) -> Claims:
        if set(members) != {"pubkey-hash", "nonce", "purpose"}:
            raise _error("claims have other members than pubkey-hash, nonce and purpose")
        nonce, purpose = members["nonce"], members["purpose"]
        if not (isinstance(nonce, bytes) and isinstance(purpose, str)):
            raise _error("a member of the claims has the wrong type")
        algorithm, key_hash = _key_hash(members["pubkey-hash"])
        if algorithm != _SHA256:
            raise _error("pubkey-hash is not a SHA-256")
        try:
            claims = cls(purpose, key_hash, nonce)
        except InputError as error:
            raise _error(error.message) from error
        if claims.to_bytes() != data:
            raise _error("claims are not in deterministic CBOR")
        return claims

    def names(self, spki_der: bytes) -> bool:
        """Whether the claims are about this key."""
        return hmac.compare_digest(self.spki_sha256, hashlib.sha256(spki_der).digest())

    def report_data(self) -> bytes:
        """The report data that binds a quote to these claims."""
        return report_data(self.to_bytes())


@dataclass(frozen=True, slots=True)
class ForeignClaims:
    """Claims as other RA-TLS implementations write them: the key, perhaps a nonce, never a purpose.

    Any well-formed definite-length CBOR is read, since nobody prescribes them an encoding; the quote is over the bytes
    as they are. Unknown members are refused: one that is not understood may restrict what the evidence is for.

    Attributes:
        algorithm: of the key hash: ``sha256``, ``sha384`` or ``sha512``.
        key_hash: of the SubjectPublicKeyInfo (DER).
        nonce: at most 64 bytes; empty where the claims hold none.
    """

    algorithm: str
    key_hash: bytes
    nonce: bytes

    @classmethod
    def _of(cls, members: dict[Any, Any]) -> ForeignClaims:
        if not {"pubkey-hash"} <= set(members) <= {"pubkey-hash", "nonce"}:
            raise _error("claims have other members than pubkey-hash and nonce, or no pubkey-hash")
        nonce = members.get("nonce", b"")
        if not isinstance(nonce, bytes) or len(nonce) > MAX_NONCE_BYTES or (not nonce and "nonce" in members):
            raise _error(f"the nonce in the claims is not 1 to {MAX_NONCE_BYTES} bytes")
        algorithm, key_hash = _key_hash(members["pubkey-hash"])
        return cls(_HASHES[algorithm], key_hash, nonce)

    def names(self, spki_der: bytes) -> bool:
        """Whether the claims are about this key."""
        return hmac.compare_digest(self.key_hash, hashlib.new(self.algorithm, spki_der).digest())


def read_claims(data: bytes) -> Claims | ForeignClaims:
    """Read claims of either form; those with a purpose are this project's, to the byte.

    Raises:
        AttestationError: ``attestation.claims``.
    """
    members = _members(data)
    return Claims._of(members, data) if "purpose" in members else ForeignClaims._of(members)  # noqa: SLF001  # one family, one decoding


def claims_bytes(purpose: str, spki_der: bytes, nonce: bytes) -> bytes:
    """The claims of a key, encoded.

    Raises:
        InputError: a purpose or nonce out of bounds.
    """
    return Claims(purpose, hashlib.sha256(spki_der).digest(), nonce).to_bytes()


def report_data(claims: bytes) -> bytes:
    """The 64 bytes to quote for encoded claims."""
    return hashlib.sha256(claims).digest() + bytes(REPORT_DATA_BYTES - 32)


def legacy_report_data(spki_der: bytes) -> bytes:
    """The report data of the oldest RA-TLS form: SHA-256 of the bare key (SPKI, DER), then 32 zero bytes."""
    return hashlib.sha256(spki_der).digest() + bytes(REPORT_DATA_BYTES - 32)


def decode_cbor(data: bytes, limit: int, what: str) -> Any:  # noqa: ANN401  # CBOR is any
    """Decode one CBOR item that is all of ``data``: definite lengths, few levels, no key of a map twice.

    Raises:
        AttestationError: ``attestation.claims``.
    """
    if len(data) > limit:
        raise _error(f"{what}: {len(data)} bytes are over the limit of {limit}")
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(
            stream,
            max_depth=_MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        ).decode()
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise _error(f"{what}: not CBOR") from error
    if stream.tell() != len(data):
        raise _error(f"{what}: bytes after the end")
    return value


def _members(data: bytes) -> dict[Any, Any]:
    members = decode_cbor(data, MAX_CLAIMS_BYTES, "claims")
    if not isinstance(members, dict):
        raise _error("claims are not a map")
    return members


def _key_hash(encoded: Any) -> tuple[int, bytes]:  # noqa: ANN401  # a member of hostile claims
    """Algorithm number and digest of a ``pubkey-hash``."""
    if not isinstance(encoded, bytes):
        raise _error("pubkey-hash is not a byte string")
    pair = decode_cbor(encoded, MAX_CLAIMS_BYTES, "pubkey-hash")
    if not isinstance(pair, list) or len(pair) != 2 or type(pair[0]) is not int or not isinstance(pair[1], bytes):
        raise _error("pubkey-hash is not an algorithm and a digest")
    algorithm, digest = pair
    if algorithm not in _HASHES or len(digest) != hashlib.new(_HASHES[algorithm]).digest_size:
        raise _error(f"pubkey-hash has an unknown algorithm {algorithm}, or a digest of another length")
    return algorithm, digest


def _error(message: str) -> AttestationError:
    return AttestationError(message, code="attestation.claims")
