"""The settings of framework versions, each with its helper enclaves (protocol, section 1.10).

What is missing or blank is said in the official words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from adyton.sms.wire import ComputeProperties

_SIZE = re.compile(r"([0-9]{1,15})\s*(B|KB|MB|GB|TB)?")
_UNITS: Final = {"B": 0, "KB": 10, "MB": 20, "GB": 30, "TB": 40}  # powers of two, as the official settings read them


def parse_size(value: object) -> int:
    """Bytes from ``1GB``, ``512MB`` (powers of 1024) or a plain number.

    Raises:
        ValueError: another form.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(str(value).strip().upper())
    if match is None:
        raise ValueError(f"Heap size must be a number with B, KB, MB, GB or TB, not {value!r}")
    return int(match[1]) << _UNITS[match[2] or "B"]


class StageSettings(BaseModel):
    """One helper enclave: its image, MRENCLAVE (64 hex digits), command and heap (bytes)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    fingerprint: str
    entrypoint: str
    heap_size: Annotated[int, BeforeValidator(parse_size), Field(gt=0, le=1 << 40)]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:  # noqa: ANN401  # what a file or the environment holds
        blank = {name: f"{name.capitalize()} must not be blank" for name in ("image", "fingerprint", "entrypoint")}
        return _require_members(value, blank | {"heap_size": "Heap size must not be null"})

    @field_validator("image", "fingerprint", "entrypoint")
    @classmethod
    def _not_blank(cls, value: str, info: Any) -> str:  # noqa: ANN401  # pydantic's ValidationInfo
        if not value.strip():
            raise ValueError(f"{info.field_name.capitalize()} must not be blank")
        return value.strip()

    def properties(self) -> ComputeProperties:
        """The stage as the wire shows it."""
        return ComputeProperties(
            image=self.image,
            fingerprint=self.fingerprint,
            entrypoint=self.entrypoint,
            heap_size_in_bytes=self.heap_size,
        )


class PipelineSettings(BaseModel):
    """One framework version with its helper enclaves.

    ``java_environment`` adds the two Java variables that official pre- and post-compute images expect; ours are
    Python programs, and a variable that steers a dynamic loader has no place in their session.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    pre_compute: StageSettings
    post_compute: StageSettings
    java_environment: bool = False

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:  # noqa: ANN401  # what a file or the environment holds
        return _require_members(
            value,
            {
                "version": "Pipeline version must not be blank",
                "pre_compute": "Pre-compute configuration must not be null",
                "post_compute": "Post-compute configuration must not be null",
            },
        )

    @field_validator("version")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("Pipeline version must not be blank")
        return value.strip()


def _require_members(value: Any, complaints: Mapping[str, str]) -> Any:  # noqa: ANN401  # what a file holds
    """Refuse a part without one of its members, in the official words."""
    if isinstance(value, Mapping):
        for name, complaint in complaints.items():
            if value.get(name) is None:
                raise ValueError(complaint)
    return value
