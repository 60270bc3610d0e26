"""The single values of session documents: what a name, a path, a measurement, a time may look like.

Also the base of all parts of a document, which decides how a part is written for the session hash.
"""

from __future__ import annotations

import posixpath
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)

from adyton.base.errors import InputError

MAX_VALUE: Final = 64 << 10  # characters of one environment value, command, template or secret


class SessionError(InputError):
    """The session document is refused; the message starts with the path of the offending element."""

    code = "cas.session.invalid"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"session document: {path}: {reason}")
        self.path = path


class Part(BaseModel):
    """A mapping of a session document.

    ``later`` are members that came into the language after its first edition. Where they say nothing they are left out
    of the canonical form, so that the hash of a document written before stays what it was.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)
    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _canonical(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = plain(self)
        return {name: value for name, value in written.items() if value or name not in self.later}


def _absolute_path(value: str) -> str:
    if not value.startswith("/") or "\0" in value or posixpath.normpath(value) != value or value.startswith("//"):
        raise ValueError("must be an absolute path without '.', '..', '//' or a trailing slash")
    return value


def _below_root(value: str) -> str:
    if value == "/":
        raise ValueError("must not be the root folder")
    return value


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    return value


def _hex_lower(value: str) -> str:
    return value.lower()


def unique(values: tuple[str, ...]) -> tuple[str, ...]:
    """A list without repetitions.

    Raises:
        ValueError: it has one.
    """
    if len(set(values)) != len(values):
        raise ValueError("holds the same entry twice")
    return values


def _timestamp(value: str) -> str:
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a time like 2027-01-31T00:00:00Z") from None
    if parsed.tzinfo is None:
        raise ValueError("must name its time zone, like 2027-01-31T00:00:00Z")
    try:
        parsed.astimezone(UTC)
    except OverflowError:
        raise ValueError("is not within the years 1 to 9999, UTC") from None
    return value


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$"), AfterValidator(_hex_lower)]
Path = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_absolute_path)]
MountPath = Annotated[Path, AfterValidator(_below_root)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,255}$")]
Template = Annotated[str, StringConstraints(max_length=MAX_VALUE), AfterValidator(_no_nul)]
Principal = Annotated[str, StringConstraints(pattern=r"^(?:CREATOR|NONE|ANY|[0-9a-f]{64})$")]
Advisory = Annotated[str, StringConstraints(pattern=r"^(?:\*|INTEL-SA-[0-9]{5})$")]
Timestamp = Annotated[str, StringConstraints(max_length=64), AfterValidator(_timestamp)]
