"""The small value types that cross every border: addresses, 32-byte words, hex text.

Addresses are EIP-55 checksummed text, words are lowercase ``0x`` text of 64 digits. Parsing is the only way to get
one, so a function that takes an :class:`Address` needs no check of its own.
"""

from __future__ import annotations

import functools
import re
from typing import Final, NewType

from adyton.base.errors import InputError

Address = NewType("Address", str)
Bytes32 = NewType("Bytes32", str)

ZERO_ADDRESS: Final = Address("0x" + "00" * 20)
ZERO_BYTES32: Final = Bytes32("0x" + "00" * 32)

_HEX_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")
_HEX_WORD = re.compile(r"0[xX][0-9a-fA-F]{64}")
_HEX_DATA = re.compile(r"0[xX](?:[0-9a-fA-F]{2})*")


def keccak(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it (not NIST SHA3-256)."""
    from eth_hash.auto import keccak as _keccak  # noqa: PLC0415  # 59 ms that reading commands need not pay

    return bytes(_keccak(data))


def parse_address(text: str) -> Address:
    """Return ``text`` as a checksummed address (EIP-55); a wrong checksum is accepted, as official clients do.

    Raises:
        InputError: not ``0x`` and 40 hex digits.
    """
    if not isinstance(text, str) or not _HEX_ADDRESS.fullmatch(text):
        raise InputError(f"{text!r} is not a valid ethereum address", code="input.address")
    return _checksummed(text[2:].lower())


@functools.lru_cache(maxsize=4096)  # the same few addresses come again and again
def _checksummed(digits: str) -> Address:
    digest = keccak(digits.encode()).hex()
    return Address("0x" + "".join(c.upper() if int(h, 16) >= 8 else c for c, h in zip(digits, digest, strict=False)))


def parse_bytes32(text: str) -> Bytes32:
    """Return ``text`` as a lowercase 32-byte word.

    Raises:
        InputError: not ``0x`` and 64 hex digits.
    """
    if not isinstance(text, str) or not _HEX_WORD.fullmatch(text):
        raise InputError(f"{text!r} is not a 32-byte hex value", code="input.bytes32")
    return Bytes32("0x" + text[2:].lower())


def from_hex(text: str) -> bytes:
    """Decode ``0x`` hex text of even length.

    Raises:
        InputError: no ``0x``, odd length or a non-hex digit.
    """
    if not isinstance(text, str) or not _HEX_DATA.fullmatch(text):
        raise InputError("not 0x-prefixed hex text of even length", code="input.hex")
    return bytes.fromhex(text[2:])


def to_hex(data: bytes) -> str:
    """Encode bytes as lowercase ``0x`` hex text."""
    return "0x" + data.hex()


def address_bytes(address: Address) -> bytes:
    """The 20 bytes of an address."""
    return bytes.fromhex(address[2:])


def word_bytes(word: Bytes32) -> bytes:
    """The 32 bytes of a word."""
    return bytes.fromhex(word[2:])
