"""P-256 keys and raw signatures that follow from a secret: simulated parties keep seeds, not key files."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from adyton.base.aead import derive_key
from adyton.base.secret import Secret

_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (FIPS 186-4 D.1.2.3)


def derive_p256(secret: Secret[bytes], label: str, *context: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of one purpose; 512 derived bits reduced below the order, so the bias is negligible."""
    parts = [derive_key(secret, f"{label}/{half}", *context).reveal() for half in ("high", "low")]
    return ec.derive_private_key(int.from_bytes(b"".join(parts), "big") % (_ORDER - 1) + 1, ec.SECP256R1())


def sign_raw(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """An ECDSA signature with SHA-256 as r||s (64 bytes big-endian), deterministic (RFC 6979)."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True)))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
