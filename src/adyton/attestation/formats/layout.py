"""Fixed-size little-endian structures as one table each: field, offset, format; what no field covers must be zero.

A structure class declares its :class:`Layout` and inherits strict ``parse`` and ``to_bytes`` from :class:`Structure`.
Parsing is injective: ``parse(data).to_bytes() == data`` for every ``data`` that is accepted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, ClassVar, Self, cast

from adyton.attestation.errors import FormatError
from adyton.base.errors import InputError


class Layout:
    """The field table of one structure.

    Args:
        name: what the structure is called in its specification.
        size: bytes.
        table: ``(field, offset, format)``; the format is a ``struct`` code or a :class:`Structure` class.
    """

    def __init__(self, name: str, size: int, table: tuple[tuple[str, int, str | type[Structure]], ...]) -> None:
        self.name = name
        self.size = size
        self._fields: list[tuple[str, int, struct.Struct, type[Structure] | None]] = []
        self._reserved: list[tuple[int, int]] = []
        whole, end = "<", 0
        for field, offset, kind in table:
            nested = None if isinstance(kind, str) else kind
            code = struct.Struct("<" + (kind if isinstance(kind, str) else f"{kind.LAYOUT.size}s"))
            if offset > end:
                self._reserved.append((end, offset))
            self._fields.append((field, offset, code, nested))
            whole += f"{offset - end}x{code.format[1:]}"
            end = offset + code.size
        if end < size:
            self._reserved.append((end, size))
        self._whole = struct.Struct(f"{whole}{size - end}x")  # all fields in one call: quotes are made and read often

    def unpack(self, data: bytes, base: int) -> dict[str, Any]:
        """Read all fields.

        Raises:
            FormatError: wrong size, or a reserved byte that is not zero.
        """
        if len(data) != self.size:
            raise FormatError(f"{self.name} has {len(data)} bytes, not {self.size}", offset=base)
        for start, stop in self._reserved:
            if data.count(0, start, stop) != stop - start:
                fault = start + next(i for i, byte in enumerate(data[start:stop]) if byte)
                raise FormatError(f"reserved byte of {self.name} is not zero", offset=base + fault)
        return {
            field: value if nested is None else nested.parse(value, base=base + offset)
            for (field, offset, _code, nested), value in zip(self._fields, self._whole.unpack(data), strict=True)
        }

    def pack(self, structure: Structure) -> bytes:
        """Write all fields, which are attributes of ``structure``; reserved bytes are zero.

        Raises:
            InputError: a number that does not fit its field, or bytes of another length than the field's.
        """
        pieces = []
        for field, _offset, code, nested in self._fields:
            value = getattr(structure, field)
            if nested is not None:
                value = value.to_bytes()
            if isinstance(value, bytes) and len(value) != code.size:
                raise InputError(f"{field} of {self.name} has {len(value)} bytes, not {code.size}")
            pieces.append(value)
        try:
            return self._whole.pack(*pieces)
        except struct.error as error:
            raise InputError(f"a field of {self.name} does not fit: {error}") from error


class Structure:
    """Base of the dataclasses whose fields are those of their ``LAYOUT``."""

    __slots__ = ()
    LAYOUT: ClassVar[Layout]

    @classmethod
    def parse(cls, data: bytes, *, base: int = 0) -> Self:
        """Read the structure from exactly its bytes; ``base`` is added to offsets in errors.

        Raises:
            FormatError: wrong size, or a reserved byte that is not zero.
        """
        return cast("Callable[..., Self]", cls)(**cls.LAYOUT.unpack(data, base))

    def to_bytes(self) -> bytes:
        """The structure's bytes.

        Raises:
            InputError: a field that does not fit.
        """
        return self.LAYOUT.pack(self)
