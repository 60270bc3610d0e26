"""Content identifiers as IPFS writes them, for SHA-256 only: v0 (``Qm…``) and v1 in base32 (``b…``).

Format: https://github.com/multiformats/cid; multihash code 0x12, codecs raw 0x55 and dag-pb 0x70.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from adyton.content.errors import ContentError

RAW: Final = 0x55
DAG_PB: Final = 0x70
_SHA256_PREFIX = b"\x12\x20"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_V0_LENGTH = 46


@dataclass(frozen=True, slots=True)
class Cid:
    """The name of one block.

    Attributes:
        version: 0 or 1; 0 implies dag-pb.
        codec: :data:`RAW` or :data:`DAG_PB`.
        digest: SHA-256 of the block, 32 bytes.
    """

    version: int
    codec: int
    digest: bytes

    def __post_init__(self) -> None:
        if (self.version, self.codec) not in {(0, DAG_PB), (1, DAG_PB), (1, RAW)} or len(self.digest) != 32:
            raise ContentError("not a content identifier that is supported", code="content.cid")

    @classmethod
    def of(cls, data: bytes, *, codec: int, version: int) -> Cid:
        """The name of the block ``data``."""
        return cls(version, codec, hashlib.sha256(data).digest())

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Read ``Qm…`` or ``b…``.

        Raises:
            ContentError: another form, base, codec or hash, or not the one canonical text of its bytes.
        """
        try:
            if len(text) == _V0_LENGTH and text.startswith("Qm"):
                cid = cls.from_bytes(_base58_decode(text))
            elif text.startswith("b"):
                body = text[1:].upper()
                cid = cls.from_bytes(base64.b32decode(body + "=" * (-len(body) % 8)))
            else:
                raise ContentError(f"{text[:80]!r} is not a content identifier", code="content.cid")
        except binascii.Error:
            raise ContentError(f"{text[:80]!r} is not a content identifier", code="content.cid") from None
        if str(cid) != text:
            raise ContentError(f"{text[:80]!r} is not a canonical content identifier", code="content.cid")
        return cid

    @classmethod
    def from_bytes(cls, data: bytes) -> Cid:
        """Read the binary form: a bare multihash (v0) or version, codec and multihash (v1).

        Raises:
            ContentError: another version, codec or hash.
        """
        if len(data) == 34 and data.startswith(_SHA256_PREFIX):
            return cls(0, DAG_PB, data[2:])
        if len(data) == 36 and data[0] == 1 and data[2:4] == _SHA256_PREFIX:
            return cls(1, data[1], data[4:])
        raise ContentError("not a SHA-256 content identifier", code="content.cid")

    def to_bytes(self) -> bytes:
        """The binary form, as links in blocks hold it."""
        head = b"" if self.version == 0 else bytes([1, self.codec])
        return head + _SHA256_PREFIX + self.digest

    def __str__(self) -> str:
        if self.version == 0:
            return _base58_encode(self.to_bytes())
        return "b" + base64.b32encode(self.to_bytes()).decode().rstrip("=").lower()


def _base58_encode(data: bytes) -> str:
    number = int.from_bytes(data)
    digits = ""
    while number:
        number, remainder = divmod(number, 58)
        digits = _BASE58[remainder] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def _base58_decode(text: str) -> bytes:
    number = 0
    for char in text:
        value = _BASE58.find(char)
        if value < 0:
            raise ContentError(f"{text[:80]!r} is not base58", code="content.cid")
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8)
