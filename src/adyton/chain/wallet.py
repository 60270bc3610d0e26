"""Keys of accounts: signing digests and EIP-191 messages, recovering signers.

Signatures are 65 bytes ``r || s || v`` with ``v`` 27 or 28, deterministic (RFC 6979) and low-s (EIP-2).
"""

from __future__ import annotations

import os
from typing import Final, NoReturn

from coincurve import PrivateKey, PublicKey

from adyton.base.errors import AdytonError, InputError
from adyton.base.secret import Secret
from adyton.base.types import Address, Bytes32, keccak, parse_address, word_bytes

SIGNATURE_BYTES: Final = 65
KEY_BYTES: Final = 32
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HALF_ORDER: Final = _ORDER // 2


class SignatureError(AdytonError):
    """Bytes that are no signature, or none that any key made over this digest."""

    code = "chain.signature"


class Wallet:
    """An account that can sign; its key leaves it only through :meth:`private_key`.

    Args:
        private_key: 32 bytes, a scalar of secp256k1.

    Raises:
        InputError: not such a key.
    """

    __slots__ = ("_key", "_signer", "address")

    def __init__(self, private_key: Secret[bytes]) -> None:
        raw = private_key.reveal()
        if len(raw) != KEY_BYTES or not 0 < int.from_bytes(raw) < _ORDER:
            raise InputError("the private key is not a 32-byte scalar of secp256k1", code="chain.wallet.key")
        self._key = private_key
        self._signer = PrivateKey(raw)
        self.address: Address = _address(self._signer.public_key)

    @classmethod
    def create(cls) -> Wallet:
        """A wallet with a fresh random key."""
        while True:
            try:
                return cls(Secret(os.urandom(KEY_BYTES)))
            except InputError:  # chance 2^-128: zero or beyond the group order
                continue

    @classmethod
    def from_hex(cls, text: str) -> Wallet:
        """A wallet from 64 hex digits, with or without ``0x``.

        Raises:
            InputError: anything else; the text is not repeated in the message.
        """
        try:
            raw = bytes.fromhex(text[2:] if text[:2] in {"0x", "0X"} else text)
        except ValueError:
            raise InputError("the private key is not hex text", code="chain.wallet.key") from None
        return cls(Secret(raw))

    def private_key(self) -> Secret[bytes]:
        """The key, for a keystore."""
        return self._key

    def public_key(self) -> bytes:
        """The uncompressed public key, 65 bytes from ``0x04``."""
        return bytes(self._signer.public_key.format(compressed=False))

    def sign_digest(self, digest: Bytes32 | bytes) -> bytes:
        """Sign 32 bytes as they are (an EIP-712 digest, a transaction hash).

        Raises:
            InputError: not 32 bytes.
        """
        signature: bytes = self._signer.sign_recoverable(_digest_bytes(digest), hasher=None)
        return signature[:64] + bytes([27 + signature[64]])

    def sign_personal(self, message: bytes) -> bytes:
        """Sign a message as ``eth_sign`` does (EIP-191 version 0x45) over exactly these bytes."""
        return self.sign_digest(personal_digest(message))

    def __repr__(self) -> str:
        return f"Wallet({self.address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Wallet cannot be pickled or copied")


def personal_digest(message: bytes) -> bytes:
    """The 32 bytes that an EIP-191 personal signature of ``message`` signs."""
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message)


def recover_digest(digest: Bytes32 | bytes, signature: bytes | str, *, lenient: bool = False) -> Address:
    """The account whose key made ``signature`` over 32 bytes.

    Args:
        digest: what was signed.
        signature: 65 bytes, or their ``0x`` text.
        lenient: also take ``v`` 0 or 1 and the 64-byte compact form (EIP-2098), as the market does.

    Raises:
        InputError: the digest is not 32 bytes.
        SignatureError: not a signature: wrong length, ``v``, range, or a high ``s`` (which a third party can make of
            a good one, EIP-2).
    """
    raw, parity = _normal_form(_signature_bytes(signature), lenient=lenient)
    try:
        key = PublicKey.from_signature_and_message(raw + bytes([parity]), _digest_bytes(digest), hasher=None)
    except ValueError as error:
        raise SignatureError("the signature is of no key over this digest") from error
    return _address(key)


def recover_personal(message: bytes, signature: bytes | str, *, lenient: bool = False) -> Address:
    """The account that signed ``message`` by EIP-191; arguments and errors as :func:`recover_digest`."""
    return recover_digest(personal_digest(message), signature, lenient=lenient)


def _normal_form(raw: bytes, *, lenient: bool) -> tuple[bytes, int]:
    if lenient and len(raw) == 64:  # EIP-2098: the parity is the top bit of s
        parity, raw = raw[32] >> 7, raw[:32] + bytes([raw[32] & 0x7F]) + raw[33:]
    elif len(raw) == SIGNATURE_BYTES:
        parity = raw[64] if lenient and raw[64] < 2 else raw[64] - 27
    else:
        raise SignatureError(f"a signature of {len(raw)} bytes, 65 are needed")
    if parity not in (0, 1):
        raise SignatureError(f"the signature's v is {raw[64]}, not 27 or 28")
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:64])
    if not 0 < r < _ORDER or not 0 < s <= _HALF_ORDER:
        raise SignatureError("the signature's r or s is out of range")
    return raw[:64], parity


def _signature_bytes(signature: bytes | str) -> bytes:
    if isinstance(signature, bytes):
        return signature
    try:
        return bytes.fromhex(signature[2:] if signature[:2] == "0x" else "!")
    except ValueError:
        raise SignatureError("the signature is not 0x hex text") from None


def _digest_bytes(digest: Bytes32 | bytes) -> bytes:
    raw = digest if isinstance(digest, bytes) else word_bytes(digest)
    if len(raw) != 32:
        raise InputError(f"a digest of {len(raw)} bytes, 32 are needed", code="chain.wallet.digest")
    return raw


def _address(key: PublicKey) -> Address:
    return parse_address("0x" + keccak(key.format(compressed=False)[1:])[12:].hex())
