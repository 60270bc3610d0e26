"""Strict reading of COSE_Sign1 messages (RFC 9052) with ES384, and of the CBOR (RFC 8949) that they are made of.

Only what AWS Nitro documents use is understood: integers, byte and text strings, arrays, maps and null. Lengths and
integers must be in their shortest form, no key may be there twice, and nothing may follow the end. Maps, and only they,
may be of indefinite length: the Nitro hypervisor writes the document itself so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from adyton.attestation.errors import FormatError

Item: TypeAlias = "int | bytes | str | list[Item] | dict[int | str, Item] | None"

MAX_DEPTH: Final = 4  # a document is a map that holds maps and arrays of strings
MAX_MEMBERS: Final = 64  # the largest map, of registers, has 32
MAX_PAYLOAD_BYTES: Final = 16384
MAX_MESSAGE_BYTES: Final = MAX_PAYLOAD_BYTES + 256

ES384: Final = -35  # RFC 9053 table 1: ECDSA with SHA-384
SIGNATURE_BYTES: Final = 96

_CODE = "attestation.nitro.format"
_TAG_SIGN1 = 0xD2  # tag 18
_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP = range(6)
_NULL, _BREAK = 0xF6, 0xFF


@dataclass(frozen=True, slots=True)
class Sign1:
    """A message with one signature; nothing is verified.

    Attributes:
        protected: the protected header as signed.
        payload: what is signed.
        signature: r||s, big-endian.
        payload_offset: where the payload starts in the message.
    """

    protected: bytes
    payload: bytes
    signature: bytes
    payload_offset: int

    @property
    def signed_bytes(self) -> bytes:
        """Sig_structure (RFC 9052 4.4) without external data."""
        parts = (_string(_BYTES, self.protected), _string(_BYTES, b""), _string(_BYTES, self.payload))
        return _head(_ARRAY, 4) + _string(_TEXT, b"Signature1") + b"".join(parts)


def parse_sign1(data: bytes) -> Sign1:
    """Read a message, tagged or not, from exactly its bytes.

    Raises:
        FormatError: ``attestation.nitro.format``: another structure, algorithm or length.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise _error(f"the message of {len(data)} bytes is over the limit", MAX_MESSAGE_BYTES)
    start = 1 if data[:1] == bytes((_TAG_SIGN1,)) else 0
    reader = _Reader(data, start)
    if reader.head() != (_ARRAY, 4):
        raise _error("it is not an array of 4 (COSE_Sign1)", start)
    protected = reader.bytes_of("the protected header")
    unprotected_at = reader.position
    if reader.item(1) != {}:
        raise _error("the unprotected header is not an empty map", unprotected_at)
    payload = reader.bytes_of("the payload")
    payload_offset = reader.position - len(payload)
    signature = reader.bytes_of("the signature")
    reader.end()
    if decode(protected) != {1: ES384}:
        raise _error("the protected header does not name ES384 alone", start + 1)
    if not 1 <= len(payload) <= MAX_PAYLOAD_BYTES:
        raise _error(f"the payload has {len(payload)} bytes", payload_offset)
    if len(signature) != SIGNATURE_BYTES:
        raise _error(f"the signature has {len(signature)} bytes, not {SIGNATURE_BYTES}", len(data) - len(signature))
    return Sign1(protected, payload, signature, payload_offset)


def decode(data: bytes, *, base: int = 0) -> Item:
    """Read the one item that ``data`` is; ``base`` is added to offsets in errors.

    Raises:
        FormatError: ``attestation.nitro.format``.
    """
    reader = _Reader(data, 0, base)
    item = reader.item(MAX_DEPTH)
    reader.end()
    return item


class _Reader:
    """A place in bytes that hold CBOR."""

    def __init__(self, data: bytes, position: int, base: int = 0) -> None:
        self._data = data
        self._base = base
        self.position = position

    def error(self, message: str, at: int) -> FormatError:
        return _error(message, self._base + at)

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes; checked before anything is made of them, so a length costs nothing."""
        if size > len(self._data) - self.position:
            raise self.error("CBOR ends inside an item", len(self._data))
        self.position += size
        return self._data[self.position - size : self.position]

    def head(self) -> tuple[int, int | None]:
        """Major type and argument of the next item; no argument means an indefinite length."""
        at = self.position
        initial = self.take(1)[0]
        major, short = initial >> 5, initial & 0x1F
        if short < 24:
            return major, short
        if short == 31:
            return major, None
        if short > 27:
            raise self.error("CBOR with a reserved length", at)
        size = 1 << short - 24
        argument = int.from_bytes(self.take(size), "big")
        if argument < (24 if size == 1 else 1 << 4 * size):
            raise self.error("CBOR with a number that is not in its shortest form", at)
        return major, argument

    def item(self, depth: int) -> Item:
        """The next item, with at most ``depth`` arrays and maps around the innermost part of it."""
        at = self.position
        if self._data[at : at + 1] == bytes((_NULL,)):
            self.position += 1
            return None
        major, argument = self.head()
        if argument is None and major != _MAP:
            raise self.error("CBOR of an indefinite length that is no map", at)
        if major in {_ARRAY, _MAP} and (depth == 0 or (argument or 0) > MAX_MEMBERS):
            raise self.error("CBOR that is nested too deep, or has too many members", at)
        if major == _MAP:
            return self._map(argument, depth - 1, at)
        if argument is None or major > _MAP:
            raise self.error(f"CBOR of a kind that is not understood ({major})", at)
        if major == _ARRAY:
            return [self.item(depth - 1) for _ in range(argument)]
        return self._scalar(major, argument, at)

    def _scalar(self, major: int, argument: int, at: int) -> Item:
        if major == _UINT:
            return argument
        if major == _NEGATIVE:
            return -1 - argument
        data = self.take(argument)
        if major == _BYTES:
            return data
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error("CBOR text that is not UTF-8", at) from error

    def _map(self, members: int | None, depth: int, at: int) -> Item:
        found: dict[int | str, Item] = {}
        while len(found) != members:
            key_at = self.position
            if members is None and self._data[key_at : key_at + 1] == bytes((_BREAK,)):
                self.position += 1
                break
            key = self.item(0)
            if not isinstance(key, int | str) or key in found:
                raise self.error("CBOR map with a key that is there twice, or neither number nor text", key_at)
            if len(found) == MAX_MEMBERS:
                raise self.error("CBOR map with too many members", at)
            found[key] = self.item(depth)
        return found

    def bytes_of(self, what: str) -> bytes:
        """The next item, a byte string."""
        at = self.position
        item = self.item(0)
        if not isinstance(item, bytes):
            raise self.error(f"{what} is not a byte string", at)
        return item

    def end(self) -> None:
        """Refuse what follows."""
        if self.position != len(self._data):
            raise self.error(f"{len(self._data) - self.position} bytes follow the end", self.position)


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major << 5 | argument,))
    size = next(size for size in (1, 2, 4, 8) if argument < 1 << 8 * size)
    return bytes((major << 5 | 23 + size.bit_length(),)) + argument.to_bytes(size, "big")


def _string(major: int, content: bytes) -> bytes:
    return _head(major, len(content)) + content


def _error(message: str, offset: int) -> FormatError:
    return FormatError(message, offset=offset, code=_CODE)
