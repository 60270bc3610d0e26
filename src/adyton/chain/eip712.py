"""Typed structured data (EIP-712): domains, struct hashes, digests, and the JSON form that wallets sign.

Covers the types that orders and login challenges use: the ABI's atomic types, ``string``, ``bytes`` and structs named
in the document; arrays are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

from adyton.base.errors import InputError
from adyton.base.types import Address, Bytes32, from_hex, keccak, word_bytes
from adyton.chain import abi

Fields = Sequence[tuple[str, str]]  # (name, type), in struct order

MAX_JSON_CHARS: Final = 64 << 10  # a challenge is below 1 kB
MAX_DEPTH: Final = 8
_DOMAIN_TYPES: Final = {
    "name": "string",
    "version": "string",
    "chainId": "uint256",
    "verifyingContract": "address",
    "salt": "bytes32",
}


class TypedDataError(InputError):
    """A document that is not typed data, or has a type outside the supported ones."""

    code = "chain.eip712"


@dataclass(frozen=True)
class Domain:
    """What a signature is bound to. A None member is absent from the domain's type.

    Attributes:
        name: protocol name.
        version: protocol version.
        chain_id: EIP-155 chain id.
        verifying_contract: the contract that checks the signature.
    """

    name: str | None = None
    version: str | None = None
    chain_id: int | None = None
    verifying_contract: Address | None = None

    @cached_property
    def members(self) -> dict[str, Any]:
        """The members that are present, by their EIP-712 names, in order."""
        values = {
            "name": self.name,
            "version": self.version,
            "chainId": self.chain_id,
            "verifyingContract": self.verifying_contract,
        }
        return {name: value for name, value in values.items() if value is not None}

    @cached_property
    def separator(self) -> Bytes32:
        """The domain separator."""
        fields = [(name, _DOMAIN_TYPES[name]) for name in self.members]
        return _word(keccak(type_hash("EIP712Domain", fields) + encode_fields(fields, self.members)))


def type_hash(name: str, fields: Fields) -> bytes:
    """Keccak-256 of ``Name(type field,…)``; for structs that contain no other struct."""
    return keccak(f"{name}({','.join(f'{kind} {field}' for field, kind in fields)})".encode())


def encode_fields(fields: Fields, values: Mapping[str, Any]) -> bytes:
    """``encodeData`` without the type hash, for atomic fields, text and bytes.

    Raises:
        TypedDataError: a type or value that does not fit.
    """
    return b"".join([_encode_atom(kind, values[name]) for name, kind in fields])


def digest(domain: Domain, struct_hash: bytes) -> Bytes32:
    """What is signed: ``keccak(0x1901 || domain separator || struct hash)``."""
    return _word(keccak(b"\x19\x01" + word_bytes(domain.separator) + struct_hash))


def struct_hash(name: str, fields: Fields, values: Mapping[str, Any]) -> bytes:
    """The hash of one struct of atomic fields, text and bytes.

    Raises:
        TypedDataError: a type or value that does not fit.
    """
    return keccak(_cached_type_hash(name, tuple(fields)) + encode_fields(fields, values))


@lru_cache(maxsize=256)
def _cached_type_hash(name: str, fields: tuple[tuple[str, str], ...]) -> bytes:
    return type_hash(name, fields)


def _encode_atom(kind: str, value: Any) -> bytes:  # noqa: ANN401  # the type text says which
    if kind == "string":
        if not isinstance(value, str):
            raise TypedDataError(f"{value!r} is not text")
        return keccak(value.encode())
    if kind == "bytes":
        return keccak(value if isinstance(value, bytes) else from_hex(value))
    try:
        codec = abi.codec(kind)
        if codec.dynamic or codec.head != abi.WORD:
            raise TypedDataError(f"the type {kind} is not supported in typed data")
        return codec.encode(value)
    except abi.AbiError as error:
        raise TypedDataError(f"{kind}: {error}") from error


def _word(raw: bytes) -> Bytes32:
    return Bytes32("0x" + raw.hex())


@dataclass(frozen=True)
class TypedData:
    """A document as ``eth_signTypedData_v4`` takes it; numbers may be text, as the market writes ``chainId``.

    Attributes:
        types: struct name to its fields, with ``EIP712Domain``.
        primary_type: the struct that ``message`` is.
        domain: members of the domain.
        message: members of the message.
    """

    types: Mapping[str, Fields]
    primary_type: str
    domain: Mapping[str, Any]
    message: Mapping[str, Any]

    @property
    def digest(self) -> Bytes32:
        """What is signed.

        Raises:
            TypedDataError: a member is missing, of an unsupported type, or does not fit it.
        """
        separator = self._hash("EIP712Domain", self.domain, 0)
        return _word(keccak(b"\x19\x01" + separator + self._hash(self.primary_type, self.message, 0)))

    def to_json(self) -> dict[str, Any]:
        """The JSON document."""
        types = {name: [{"name": field, "type": kind} for field, kind in fields] for name, fields in self.types.items()}
        return {
            "types": types,
            "domain": dict(self.domain),
            "primaryType": self.primary_type,
            "message": dict(self.message),
        }

    @classmethod
    def from_json(cls, document: Any) -> TypedData:  # noqa: ANN401  # outside JSON
        """Read a document; further members are refused.

        Raises:
            TypedDataError: not typed data, or too large.
        """
        try:
            if len(json.dumps(document)) > MAX_JSON_CHARS:
                raise TypedDataError(f"a typed data document of more than {MAX_JSON_CHARS} characters")
            if set(document) != {"types", "domain", "primaryType", "message"}:
                raise TypedDataError("typed data has exactly types, domain, primaryType and message")
            types = {
                _text(name): tuple((_text(field["name"]), _text(field["type"])) for field in fields)
                for name, fields in document["types"].items()
            }
            data = cls(types, _text(document["primaryType"]), dict(document["domain"]), dict(document["message"]))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise TypedDataError("the document is not EIP-712 typed data") from error
        if "EIP712Domain" not in types or data.primary_type not in types:
            raise TypedDataError("the types name neither EIP712Domain nor the primary type")
        return data

    def _hash(self, name: str, values: Mapping[str, Any], depth: int) -> bytes:
        if depth > MAX_DEPTH or not isinstance(values, Mapping):
            raise TypedDataError(f"{name}: structs are nested too deeply, or no struct is given")
        fields = self.types[name]
        if set(values) != {field for field, _ in fields}:
            raise TypedDataError(f"the members of {name} are not those of its type")
        parts = [keccak(self._encode_type(name).encode())]
        for field, kind in fields:
            value = values[field]
            if kind in self.types:
                parts.append(self._hash(kind, value, depth + 1))
            elif kind.startswith("uint") and isinstance(value, str):
                parts.append(_encode_atom(kind, _number(value)))
            else:
                parts.append(_encode_atom(kind, value))
        return keccak(b"".join(parts))

    def _encode_type(self, name: str) -> str:
        found: dict[str, None] = {}
        todo = [name]
        while todo:
            current = todo.pop()
            if current not in found:
                found[current] = None
                todo += [kind for _, kind in self.types[current] if kind in self.types]
        others = sorted(other for other in found if other != name)
        return "".join(
            f"{each}({','.join(f'{kind} {field}' for field, kind in self.types[each])})" for each in [name, *others]
        )


def _text(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise TypedDataError(f"{value!r} is not text")
    return value


def _number(text: str) -> int:
    digits = text[2:] if text[:2] == "0x" else text
    if not digits.isascii() or not digits.isalnum() or len(digits) > 78:
        raise TypedDataError(f"{text[:80]!r} is not a number")
    try:
        return int(digits, 16 if text[:2] == "0x" else 10)
    except ValueError:
        raise TypedDataError(f"{text[:80]!r} is not a number") from None
