"""Multiaddresses, as assets store where their content is (multiformats multiaddr, CID and multihash).

Text that is a multiaddress is stored in binary, all else as UTF-8; bytes are read by the same rule. The form keeps
only the multihash of a CID, so ``/ipfs/<any CID>`` reads back as ``/p2p/<base58 of the multihash>``, and what a
gateway is asked for is that version 0 CID. Protocols that no asset's content is at (onion, garlic, memory, …) are not
in the table; such addresses are stored as text.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from adyton.base.errors import InputError

MAX_BYTES: Final = 4096  # of an asset's multiaddr that is parsed; longer ones are text
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class MultiaddrError(InputError):
    """Not a multiaddress, CID or multihash."""

    code = "chain.multiaddr"


@dataclass(frozen=True, slots=True)
class _Protocol:
    """One protocol of the table; ``size`` in bytes, None for a value that its length precedes, 0 for no value."""

    name: str
    code: int
    size: int | None
    encode: Callable[[str], bytes]
    decode: Callable[[bytes], str]


def to_bytes(text: str) -> bytes:
    """What to store for ``text``: binary if it is a multiaddress, else its UTF-8 bytes."""
    try:
        return encode(text)
    except MultiaddrError:
        return text.encode()


def to_text(raw: bytes) -> str:
    """What stored bytes say: the multiaddress if they are one, else UTF-8 text; empty bytes read as ``/``."""
    try:
        return decode(raw)
    except MultiaddrError:
        return raw.decode("utf-8", "replace")


def encode(text: str) -> bytes:
    """The binary form of a multiaddress.

    Raises:
        MultiaddrError: not one, or of a protocol outside the table.
    """
    if text and not text.startswith("/"):
        raise MultiaddrError("a multiaddress begins with a slash")
    parts = text.strip("/").split("/") if text.strip("/") else []
    raw = b""
    while parts:
        name, *parts = parts
        protocol = _BY_NAME.get(name)
        if protocol is None:
            raise MultiaddrError(f"{name[:40]!r} is not a known protocol")
        raw += _varint(protocol.code)
        if protocol.size == 0:
            continue
        if not parts or not parts[0]:
            raise MultiaddrError(f"/{name} needs a value")
        value, *parts = parts
        encoded = protocol.encode(value)
        raw += encoded if protocol.size is not None else _varint(len(encoded)) + encoded
    return raw


def decode(raw: bytes) -> str:
    """The text form of a binary multiaddress.

    Raises:
        MultiaddrError: not one, or of a protocol outside the table.
    """
    if len(raw) > MAX_BYTES:
        raise MultiaddrError(f"a multiaddress of more than {MAX_BYTES} bytes")
    text, at = "", 0
    while at < len(raw):
        code, at = _read_varint(raw, at)
        protocol = _BY_CODE.get(code)
        if protocol is None:
            raise MultiaddrError(f"{code} is not a known protocol")
        size = protocol.size
        if size is None:
            size, at = _read_varint(raw, at)
        value = raw[at : at + size]
        if len(value) != size:
            raise MultiaddrError("the multiaddress is cut off")
        text += f"/{protocol.name}" + (f"/{protocol.decode(value)}" if protocol.size != 0 else "")
        at += size
    return text or "/"


def cid_multihash(text: str) -> bytes:
    """The multihash inside a CID of version 0 or 1.

    Raises:
        MultiaddrError: not a CID.
    """
    if not isinstance(text, str) or not 2 <= len(text) <= 256:
        raise MultiaddrError("not a CID")
    if text.startswith(("Qm", "1")):
        return _checked_multihash(_base_decode(text, _BASE58))
    raw = _multibase(text)
    version, at = _read_varint(raw, 0)
    _, at = _read_varint(raw, at)
    if version != 1:
        raise MultiaddrError(f"CID version {version} is unknown")
    return _checked_multihash(raw[at:])


def _multibase(text: str) -> bytes:
    prefix, body = text[0], text[1:]
    try:
        if prefix == "b" and body == body.lower():
            return base64.b32decode(body.upper() + "=" * (-len(body) % 8))
        if prefix == "f":
            return bytes.fromhex(body)
    except (ValueError, binascii.Error) as error:
        raise MultiaddrError("the CID's text is damaged") from error
    if prefix in {"z", "k"}:
        return _base_decode(body, _BASE58 if prefix == "z" else _BASE36)
    raise MultiaddrError(f"the CID's base {prefix!r} is not supported")


def _checked_multihash(raw: bytes) -> bytes:
    _, at = _read_varint(raw, 0)
    size, at = _read_varint(raw, at)
    if size == 0 or len(raw) != at + size:
        raise MultiaddrError("the multihash has another length than it says")
    return raw


def _base_decode(text: str, alphabet: str) -> bytes:
    number = 0
    for character in text:
        digit = alphabet.find(character)
        if digit < 0:
            raise MultiaddrError(f"{character!r} is not a digit of base {len(alphabet)}")
        number = number * len(alphabet) + digit
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8)


def _base58(raw: bytes) -> str:
    number, text = int.from_bytes(raw), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return _BASE58[0] * (len(raw) - len(raw.lstrip(b"\0"))) + text


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for position in range(at, min(at + 4, len(raw))):
        value |= (raw[position] & 0x7F) << 7 * (position - at)
        if raw[position] < 0x80:
            return value, position + 1
    raise MultiaddrError("a number in the multiaddress is cut off or too large")


def _ip(version: Callable[[str], ipaddress.IPv4Address | ipaddress.IPv6Address]) -> Callable[[str], bytes]:
    def encode_ip(text: str) -> bytes:
        try:
            return version(text).packed
        except ValueError as error:
            raise MultiaddrError(f"{text[:60]!r} is not an IP address") from error

    return encode_ip


def _decimal(limit: int, size: int) -> Callable[[str], bytes]:
    def encode_decimal(text: str) -> bytes:
        if not text.isascii() or not text.isdigit() or str(int(text[:9])) != text or int(text) > limit:
            raise MultiaddrError(f"{text[:20]!r} is not a number up to {limit}")
        return int(text).to_bytes(size)

    return encode_decimal


def _utf8(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise MultiaddrError("a name in the multiaddress is not UTF-8") from error
    if not text or "/" in text:
        raise MultiaddrError("a name in the multiaddress is empty or has a slash")
    return text


def _nothing(text: str) -> bytes:
    raise MultiaddrError(f"{text[:40]!r} follows a protocol without a value")


def _table() -> list[_Protocol]:
    port = _decimal(0xFFFF, 2)
    numbers = [("tcp", 6), ("dccp", 33), ("sctp", 132), ("udp", 273)]
    names = [("ip6zone", 42), ("dns", 53), ("dns4", 54), ("dns6", 55), ("dnsaddr", 56), ("sni", 449)]
    bare = [("p2p-circuit", 290), ("utp", 302), ("udt", 301), ("webrtc-direct", 280), ("webrtc", 281), ("http", 480)]
    bare += [("https", 443), ("tls", 448), ("noise", 454), ("quic", 460), ("quic-v1", 461), ("webtransport", 465)]
    bare += [("ws", 477), ("wss", 478)]
    return [
        _Protocol("ip4", 4, 4, _ip(ipaddress.IPv4Address), lambda raw: str(ipaddress.IPv4Address(raw))),
        _Protocol("ip6", 41, 16, _ip(ipaddress.IPv6Address), lambda raw: str(ipaddress.IPv6Address(raw))),
        _Protocol("ipcidr", 43, 1, _decimal(0xFF, 1), lambda raw: str(raw[0])),
        _Protocol("p2p", 421, None, cid_multihash, lambda raw: _base58(_checked_multihash(raw))),
        *(_Protocol(name, code, 2, port, lambda raw: str(int.from_bytes(raw))) for name, code in numbers),
        *(_Protocol(name, code, None, str.encode, _utf8) for name, code in names),
        *(_Protocol(name, code, 0, _nothing, bytes.hex) for name, code in bare),
    ]


_BY_CODE: Final = {protocol.code: protocol for protocol in _table()}
_BY_NAME: Final = {protocol.name: protocol for protocol in _BY_CODE.values()} | {"ipfs": _BY_CODE[421]}
