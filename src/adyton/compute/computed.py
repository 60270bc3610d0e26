"""``computed.json``: what an application tells about its result, completed by the post-compute stage.

The application writes ``deterministic-output-path`` (or ``callback-data`` for callback deals) and may add an
``error-message``; unknown keys are ignored (SMS reference 8.1). The rest is set by whoever signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adyton.base.errors import AdytonError
from adyton.base.jsontext import parse_json
from adyton.base.types import Bytes32

FILE_NAME: Final = "computed.json"
MAX_BYTES: Final = 1 << 20  # callback data is limited by gas long before this

_FIELDS: Final = {
    "deterministic_output_path": "deterministic-output-path",
    "callback_data": "callback-data",
    "task_id": "task-id",
    "result_digest": "result-digest",
    "enclave_signature": "enclave-signature",
    "error_message": "error-message",
}


class ComputedFileError(AdytonError):
    """``computed.json`` is absent, too large or malformed."""

    code = "compute.computed_file"
    hint = "the application must write /iexec_out/computed.json with deterministic-output-path or callback-data"


@dataclass(frozen=True, slots=True)
class ComputedFile:
    """The members of ``computed.json``; absent ones are empty."""

    deterministic_output_path: str = ""
    callback_data: str = ""
    task_id: str = ""
    result_digest: str = ""
    enclave_signature: str = ""
    error_message: str = ""

    @classmethod
    def parse(cls, data: bytes) -> ComputedFile:
        """Read the file's bytes; unknown keys are ignored, ``null`` counts as absent.

        Raises:
            ComputedFileError: too large, not a JSON object, or a known key that is not text.
        """
        if len(data) > MAX_BYTES:
            raise ComputedFileError(f"computed.json has {len(data)} bytes, more than {MAX_BYTES}")
        try:
            document = parse_json(data)
        except (ValueError, RecursionError) as error:
            raise ComputedFileError("computed.json is not valid JSON") from error
        if not isinstance(document, dict):
            raise ComputedFileError("computed.json is not a JSON object")
        values: dict[str, str] = {}
        for field, key in _FIELDS.items():
            value = document.get(key)
            if value is None:
                continue
            if not isinstance(value, str):
                raise ComputedFileError(f"computed.json: {key} is not text")
            values[field] = value
        return cls(**values)

    @classmethod
    def read(cls, folder: Path) -> ComputedFile:
        """Read ``computed.json`` of a results folder; a symbolic link is refused.

        Raises:
            ComputedFileError: as :meth:`parse`, or there is no such regular file.
        """
        path = folder / FILE_NAME
        if path.is_symlink() or not path.is_file():
            raise ComputedFileError(f"there is no regular file {FILE_NAME} among the results")
        try:
            with path.open("rb") as stream:
                return cls.parse(stream.read(MAX_BYTES + 1))
        except OSError as error:
            raise ComputedFileError(f"{FILE_NAME} cannot be read: {error.strerror}") from error

    def to_json(self) -> dict[str, str]:
        """The members that are set, under their names in the file."""
        return {key: getattr(self, field) for field, key in _FIELDS.items() if getattr(self, field)}

    def completed(self, task_id: Bytes32, digest: Bytes32, enclave_signature: str = "") -> ComputedFile:
        """The same with the members that the post-compute stage sets."""
        return ComputedFile(
            deterministic_output_path=self.deterministic_output_path,
            callback_data=self.callback_data,
            task_id=task_id,
            result_digest=digest,
            enclave_signature=enclave_signature,
            error_message=self.error_message,
        )
