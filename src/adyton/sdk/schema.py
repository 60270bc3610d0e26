"""Strict checks of project files, with the messages that official clients print for them.

Small on purpose: pydantic would cost every command a tenth of a second for files of a few lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from adyton.base.errors import InputError
from adyton.base.types import parse_address

_CHAIN_ID: Final = re.compile(r"[1-9][0-9]{0,18}")


class SchemaError(InputError):
    """A file's content breaks its schema."""

    code = "sdk.schema"


class Schema(Protocol):
    """Checks one value. ``path`` is its key, for the message."""

    def check(self, value: Any, path: str) -> None:  # noqa: ANN401  # JSON is any
        """Accept the value.

        Raises:
            SchemaError: it does not fit.
        """


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    def check(self, value: Any, path: str) -> None:  # noqa: ANN401
        """As in :class:`Schema`."""
        if not isinstance(value, str):
            raise _type_error("string", value, path)


@dataclass(frozen=True, slots=True)
class ChainId:
    """A chain id as decimal text; a JSON number is refused, as official clients do."""

    def check(self, value: Any, path: str) -> None:  # noqa: ANN401
        """As in :class:`Schema`."""
        Text().check(value, path)
        if not _CHAIN_ID.fullmatch(value):
            raise SchemaError(f"{value[:80]} is not a valid chainId")


@dataclass(frozen=True, slots=True)
class Address:
    """An account or contract address; its checksum does not matter."""

    def check(self, value: Any, path: str) -> None:  # noqa: ANN401
        """As in :class:`Schema`."""
        Text().check(value, path)
        try:
            parse_address(value)
        except InputError as error:
            raise SchemaError(f"{value[:80]} is not a valid ethereum address") from error


@dataclass(frozen=True, slots=True)
class Url:
    """The address of a service."""

    def check(self, value: Any, path: str) -> None:  # noqa: ANN401
        """As in :class:`Schema`."""
        Text().check(value, path)
        scheme, separator, rest = value.partition("://")
        if scheme not in ("http", "https") or not separator or not rest:
            raise SchemaError(f"{path} must be a valid URL")


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false."""

    def check(self, value: Any, path: str) -> None:  # noqa: ANN401
        """As in :class:`Schema`."""
        if not isinstance(value, bool):
            raise _type_error("boolean", value, path)


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer between two bounds, ends included."""

    low: int
    high: int

    def check(self, value: Any, path: str) -> None:  # noqa: ANN401
        """As in :class:`Schema`."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise _type_error("number", value, path)
        if value < self.low:
            raise SchemaError(f"{path} must be greater than or equal to {self.low}")
        if value > self.high:
            raise SchemaError(f"{path} must be less than or equal to {self.high}")


@dataclass(frozen=True, slots=True)
class Framework:
    """The name of a TEE framework."""

    names: Sequence[str]

    def check(self, value: Any, path: str) -> None:  # noqa: ANN401
        """As in :class:`Schema`."""
        if value not in self.names:
            raise SchemaError(f"{path} is not a valid TEE framework")


@dataclass(frozen=True, slots=True)
class TextOr:
    """A string of some form, or an object."""

    text: Schema
    other: Schema

    def check(self, value: Any, path: str) -> None:  # noqa: ANN401
        """As in :class:`Schema`."""
        (self.other if isinstance(value, dict) else self.text).check(value, path)


@dataclass(frozen=True, slots=True)
class Object:
    """An object with known keys only.

    Attributes:
        fields: schema by key.
        required: keys that must be there.
        nested: whether messages name the object by its path.
    """

    fields: Mapping[str, Schema]
    required: tuple[str, ...] = ()
    nested: bool = False

    def check(self, value: Any, path: str) -> None:  # noqa: ANN401
        """As in :class:`Schema`."""
        if not isinstance(value, dict):
            raise _type_error("object", value, path or "this")
        unknown = [key for key in value if key not in self.fields]
        if unknown:
            names = ", ".join(unknown)
            raise SchemaError(
                f"{path} field has unspecified keys: {names}" if self.nested else f'Unknown key "{names}"'
            )
        for key in self.required:
            if key not in value:
                raise SchemaError(f"{key} is a required field")
        for key, item in value.items():
            name = f"{path}.{key}" if self.nested else key
            if item is None:
                raise SchemaError(f"{name} cannot be null")
            self.fields[key].check(item, name)


@dataclass(frozen=True, slots=True)
class Map:
    """An object with any keys and values of one schema."""

    value: Schema

    def check(self, value: Any, path: str) -> None:  # noqa: ANN401
        """As in :class:`Schema`."""
        if not isinstance(value, dict):
            raise _type_error("object", value, path)
        for item in value.values():
            self.value.check(item, "this")


def _type_error(kind: str, value: Any, path: str) -> SchemaError:  # noqa: ANN401
    shown = json.dumps(value)[:200]
    return SchemaError(f"{path} must be a `{kind}` type, but the final value was: `{shown}`.")
