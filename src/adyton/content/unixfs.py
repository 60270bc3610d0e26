"""Files as IPFS stores them: fixed-size chunks in a balanced DAG of dag-pb nodes, byte for byte as Kubo does.

Formats: DAG-PB (https://ipld.io/specs/codecs/dag-pb/spec/) around UnixFS v1 data
(https://github.com/ipfs/specs/blob/main/UNIXFS.md). Kubo's defaults: chunks of 262,144 bytes, 174 links a node; with
CID version 0 the leaves are dag-pb nodes too, with version 1 they are raw blocks.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from adyton.content.blocks import Blocks
from adyton.content.cid import DAG_PB, RAW, Cid
from adyton.content.errors import ContentError, LimitError

CHUNK_BYTES: Final = 262_144
MAX_LINKS: Final = 174
_FILE: Final = 2  # UnixFS data type
_RAW_TYPE: Final = 0
_MAX_DEPTH: Final = 8  # 174^8 chunks are more than any disk
_VARINT, _LENGTH = 0, 2  # protobuf wire types


@dataclass(frozen=True, slots=True)
class _Node:
    """A written node as its parent sees it: name, bytes of the file below it, and bytes of all its blocks."""

    cid: Cid
    file_size: int
    total_size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A decoded block of a file: its own bytes, or the blocks that hold them with the size of each.

    Attributes:
        data: bytes in this block itself.
        links: child block and number of the file's bytes below it.
        file_size: bytes of the file here and below.
        total_size: bytes of all blocks here and below, as the links announce them.
    """

    data: bytes
    links: tuple[tuple[Cid, int], ...]
    file_size: int
    total_size: int


def import_file(source: BinaryIO | bytes, store: Blocks, *, version: int = 0, chunk: int = CHUNK_BYTES) -> Cid:
    """Store a file and return its name; the same bytes give the same name as ``ipfs add``.

    Args:
        source: the file's bytes, or a stream that is read to its end.
        store: where its blocks go.
        version: of the CIDs; 1 also makes the leaves raw blocks.
        chunk: bytes in each leaf.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    levels: list[list[_Node]] = [[]]
    while data := _read_chunk(stream, chunk):
        _append(levels, 0, _leaf(data, store, version), store, version)
    if levels == [[]]:
        return _leaf(b"", store, version).cid
    for level, nodes in enumerate(levels):
        is_top = level == len(levels) - 1
        if is_top and len(nodes) == 1:
            return nodes[0].cid
        if nodes:
            levels[level] = []
            _append(levels, level + 1, _parent(nodes, store, version), store, version)
    return levels[-1][0].cid


def read_file(cid: Cid, store: Blocks) -> Iterator[bytes]:
    """The bytes of the file named ``cid``, in pieces and in order; every block is verified by the store.

    Raises:
        BlockMissingError: a block is not in the store; possibly after some pieces.
        ContentError: not a file, or its nodes contradict each other.
    """
    todo: list[tuple[Cid, int | None, int]] = [(cid, None, 0)]
    while todo:
        current, expected, depth = todo.pop()
        entry = read_entry(current, store)
        if expected is not None and entry.file_size != expected:
            raise ContentError(
                f"{current} has {entry.file_size} bytes where {expected} are announced", code="content.unixfs"
            )
        if depth > _MAX_DEPTH:
            raise LimitError(f"{cid} is nested too deeply", code="content.unixfs.depth")
        if entry.data:
            yield entry.data
        todo.extend((link, size, depth + 1) for link, size in reversed(entry.links))


def file_size(cid: Cid, store: Blocks) -> int:
    """Length of the file named ``cid``, from its first block.

    Raises:
        BlockMissingError: its first block is not in the store.
        ContentError: not a file.
    """
    return read_entry(cid, store).file_size


def read_entry(cid: Cid, store: Blocks) -> Entry:
    """Decode one block of a file.

    Raises:
        BlockMissingError: not in the store.
        ContentError: not a block of a file.
    """
    block = store.get(cid)
    return Entry(block, (), len(block), len(block)) if cid.codec == RAW else decode_node(block)


def decode_node(block: bytes) -> Entry:
    """Decode a dag-pb node that is a UnixFS file.

    Raises:
        ContentError: malformed, not a file, or sizes that do not add up.
    """
    links: list[Cid] = []
    total = len(block)
    data = b""
    for field, value in _fields(block):
        if field == 2 and isinstance(value, bytes):
            link, below = _decode_link(value)
            links.append(link)
            total += below
        elif field == 1 and isinstance(value, bytes):
            data = value
        else:
            raise _malformed(f"dag-pb field {field}")
    kind, content, size, sizes = _decode_unixfs(data)
    if kind not in {_FILE, _RAW_TYPE}:
        raise ContentError("the content is not a file", code="content.unixfs.kind", hint="name a file, not a folder")
    if len(sizes) != len(links) or size != len(content) + sum(sizes):
        raise _malformed("sizes that do not add up")
    return Entry(content, tuple(zip(links, sizes, strict=True)), size, total)


def _read_chunk(stream: BinaryIO, size: int) -> bytes:
    """Exactly ``size`` bytes unless the stream ends: chunk borders must not depend on how a stream delivers."""
    data = stream.read(size)
    while data and len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            break
        data += more
    return data


def _append(levels: list[list[_Node]], level: int, node: _Node, store: Blocks, version: int) -> None:
    if level == len(levels):
        levels.append([])
    levels[level].append(node)
    if len(levels[level]) == MAX_LINKS:
        full, levels[level] = levels[level], []
        _append(levels, level + 1, _parent(full, store, version), store, version)


def _leaf(data: bytes, store: Blocks, version: int) -> _Node:
    if version == 1:
        return _write(data, Cid.of(data, codec=RAW, version=version), len(data), 0, store)
    content = _bytes_field(2, data) if data else b""
    unixfs = _varint_field(1, _FILE) + content + _varint_field(3, len(data))
    block = _bytes_field(1, unixfs)
    return _write(block, Cid.of(block, codec=DAG_PB, version=version), len(data), 0, store)


def _parent(nodes: list[_Node], store: Blocks, version: int) -> _Node:
    links = b"".join(
        _bytes_field(2, _bytes_field(1, node.cid.to_bytes()) + _bytes_field(2, b"") + _varint_field(3, node.total_size))
        for node in nodes
    )
    size = sum(node.file_size for node in nodes)
    sizes = b"".join(_varint_field(4, node.file_size) for node in nodes)
    unixfs = _varint_field(1, _FILE) + _varint_field(3, size) + sizes
    below = sum(node.total_size for node in nodes)
    block = links + _bytes_field(1, unixfs)
    return _write(block, Cid.of(block, codec=DAG_PB, version=version), size, below, store)


def _write(block: bytes, cid: Cid, size: int, below: int, store: Blocks) -> _Node:
    store.put(cid, block)
    return _Node(cid, size, len(block) + below)


def _decode_link(data: bytes) -> tuple[Cid, int]:
    cid, size = None, 0
    for field, value in _fields(data):
        if field == 1 and isinstance(value, bytes):
            cid = Cid.from_bytes(value)
        elif field == 3 and isinstance(value, int):
            size = value
    if cid is None:
        raise _malformed("a link without a hash")
    return cid, size


def _decode_unixfs(data: bytes) -> tuple[int, bytes, int, list[int]]:
    kind, content, size = -1, b"", 0
    sizes: list[int] = []
    for field, value in _fields(data):
        match field, value:
            case 1, int():
                kind = value
            case 2, bytes():
                content = value
            case 3, int():
                size = value
            case 4, int():
                sizes.append(value)
            case ((5 | 6 | 7 | 8), _):  # hash type, fanout, mode, mtime: not needed to read a file
                pass
            case _:
                raise _malformed(f"UnixFS field {field}")
    return kind, content, size, sizes


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Decode a protobuf message of varint and length-delimited fields."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value, at = _varint(data, at)
        if key & 7 == _VARINT:
            yield key >> 3, value
        elif key & 7 == _LENGTH and at + value <= len(data):
            yield key >> 3, data[at : at + value]
            at += value
        else:
            raise _malformed("a field of another type or length")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 63, 7):
        if at >= len(data):
            raise _malformed("a cut number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _malformed("an oversized number")


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint_field(number: int, value: int) -> bytes:
    return _encode_varint(number << 3 | _VARINT) + _encode_varint(value)


def _bytes_field(number: int, value: bytes) -> bytes:
    return _encode_varint(number << 3 | _LENGTH) + _encode_varint(len(value)) + value


def _malformed(what: str) -> ContentError:
    return ContentError(f"malformed block: {what}", code="content.unixfs")
