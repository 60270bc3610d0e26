"""Mutations of bytes that know nothing of their meaning, deterministic by the generator that they are given."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

_INTERESTING: Final = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)


def mutate(rng: Random, data: bytes, other: bytes = b"") -> bytes:
    """One random change of ``data``; ``other`` is what a splice takes its pieces from."""
    if not data:
        return rng.randbytes(rng.randint(1, 8))
    return rng.choice(_MUTATIONS)(rng, data, other or data)


def flip(rng: Random, data: bytes, _other: bytes = b"") -> bytes:
    """One to three bits turned."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 3))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _put(rng: Random, data: bytes, _other: bytes) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(len(data))] = rng.choice(_INTERESTING)
    return bytes(changed)


def _number(rng: Random, data: bytes, _other: bytes) -> bytes:
    size = min(rng.choice((2, 4, 8)), len(data))
    start = rng.randrange(len(data) - size + 1)
    value = rng.choice((0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), len(data), rng.getrandbits(8 * size)))
    return data[:start] + (value % (1 << 8 * size)).to_bytes(size, rng.choice(("little", "big"))) + data[start + size :]


def _fill(rng: Random, data: bytes, _other: bytes) -> bytes:
    start, end = _range(rng, data)
    return data[:start] + bytes([rng.choice(_INTERESTING)]) * (end - start) + data[end:]


def _insert(rng: Random, data: bytes, other: bytes) -> bytes:
    start, end = _range(rng, other)
    place = rng.randint(0, len(data))
    return data[:place] + rng.choice((other[start:end], rng.randbytes(rng.randint(1, 8)))) + data[place:]


def _delete(rng: Random, data: bytes, _other: bytes) -> bytes:
    start, end = _range(rng, data)
    return data[:start] + data[end:]


def _truncate(rng: Random, data: bytes, _other: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _extend(rng: Random, data: bytes, _other: bytes) -> bytes:
    return data + rng.choice((b"\0", b"\n", bytes(rng.randint(1, 64)), rng.randbytes(rng.randint(1, 64))))


def _swap(rng: Random, data: bytes, _other: bytes) -> bytes:
    size = rng.choice((1, 4, 16, 32, 64))
    if len(data) < 2 * size:
        return data[::-1]
    first, second = sorted(rng.sample(range(len(data) // size), 2))
    a, b = first * size, second * size
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]


def _splice(rng: Random, data: bytes, other: bytes) -> bytes:
    start, end = _range(rng, other)
    return data[:start] + other[start:end] + data[end:]


def _range(rng: Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 2, 4, 16, 32, 64, 256)))


_MUTATIONS: Final[tuple[Callable[[Random, bytes, bytes], bytes], ...]] = (
    flip, flip, flip, _put, _number, _fill, _insert, _delete, _truncate, _extend, _swap, _splice,
)  # fmt: skip
