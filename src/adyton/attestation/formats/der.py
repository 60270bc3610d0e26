"""The few DER types (X.690) that the SGX extension is made of: strict reading, minimal writing."""

from __future__ import annotations

from typing import Final

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
OID: Final = 0x06
ENUMERATED: Final = 0x0A
SEQUENCE: Final = 0x30

MAX_INTEGER_BYTES: Final = 32  # serial numbers have at most 20 (RFC 5280 4.1.2.2), SVNs 2
MAX_OID_BYTES: Final = 64  # the longest in use here has 11; the time to read one grows with the square of its length

Element = tuple[int, bytes]  # tag and content


class DerError(ValueError):
    """Not DER, or not of the expected type; callers turn it into their own error."""


def elements(data: bytes) -> list[Element]:
    """All elements that ``data`` consists of."""
    found: list[Element] = []
    rest = data
    while rest:
        element, rest = _take(rest)
        found.append(element)
    return found


def single(data: bytes) -> Element:
    """The one element that ``data`` consists of."""
    element, rest = _take(data)
    if rest:
        raise DerError(f"{len(rest)} bytes after the end")
    return element


def _take(data: bytes) -> tuple[Element, bytes]:
    if len(data) < 2:
        raise DerError("ends inside an element")
    size, start = data[1], 2
    if size >= 0x80:
        count = size & 0x7F
        start = 2 + count
        size = int.from_bytes(data[2:start], "big")
        if not 1 <= count <= 3 or len(data) < start or size < (0x80 if count == 1 else 1 << 8 * (count - 1)):
            raise DerError("a length is not minimal or too large")
    if size > len(data) - start:
        raise DerError("ends inside an element")
    return (data[0], data[start : start + size]), data[start + size :]


def expect(element: Element, tag: int) -> bytes:
    """The content of an element of type ``tag``."""
    if element[0] != tag:
        raise DerError(f"type {element[0]:#04x} where {tag:#04x} is expected")
    return element[1]


def read_integer(content: bytes) -> int:
    """A non-negative integer in its minimal form, of at most :data:`MAX_INTEGER_BYTES`."""
    if len(content) > MAX_INTEGER_BYTES:
        raise DerError(f"an integer of {len(content)} bytes is over the limit")
    if not content or content[0] & 0x80 or (len(content) > 1 and content[0] == 0 and not content[1] & 0x80):
        raise DerError("an integer is negative or not minimal")
    return int.from_bytes(content, "big")


def read_boolean(content: bytes) -> bool:
    """A boolean: DER allows only 00 and FF."""
    if content not in {b"\x00", b"\xff"}:
        raise DerError("a boolean is neither 00 nor FF")
    return content == b"\xff"


def read_oid(content: bytes) -> str:
    """An object identifier of at most :data:`MAX_OID_BYTES` as dotted text."""
    if len(content) > MAX_OID_BYTES:
        raise DerError(f"an object identifier of {len(content)} bytes is over the limit")
    if not content or content[-1] & 0x80:
        raise DerError("an object identifier ends inside an arc")
    arcs: list[int] = []
    value, fresh = 0, True
    for byte in content:
        if fresh and byte == 0x80:
            raise DerError("an object identifier is not minimal")
        value, fresh = value << 7 | byte & 0x7F, not byte & 0x80
        if fresh:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


def element(tag: int, content: bytes) -> bytes:
    """One element."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(*parts: bytes) -> bytes:
    """A SEQUENCE of encoded elements."""
    return element(SEQUENCE, b"".join(parts))


def octets(content: bytes) -> bytes:
    """An OCTET STRING."""
    return element(OCTET_STRING, content)


def integer(value: int, tag: int = INTEGER) -> bytes:
    """A non-negative INTEGER, or ENUMERATED by ``tag``."""
    return element(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def boolean(value: bool) -> bytes:
    """A BOOLEAN."""
    return element(BOOLEAN, b"\xff" if value else b"\x00")


def oid(text: str) -> bytes:
    """An OBJECT IDENTIFIER from dotted text."""
    first, second, *rest = map(int, text.split("."))
    return element(OID, b"".join(_arc(value) for value in (first * 40 + second, *rest)))


def _arc(value: int) -> bytes:
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | value & 0x7F)
    return bytes(reversed(digits))
