"""What crosses the network to upload a result (SMS reference 7.4, official ``ResultModel``)."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from adyton.base.errors import InputError
from adyton.base.jsontext import parse_json
from adyton.base.types import ZERO_BYTES32

EMPTY_SIGNATURE: Final = "0x" + "00" * 65


def _zip_bytes(value: Any) -> bytes:  # noqa: ANN401  # two JSON forms and bytes
    """Java clients send base64 text, Rust ones an array of integers."""
    match value:
        case bytes():
            return value
        case str():
            try:
                return base64.b64decode(value, validate=True)
            except binascii.Error as error:
                raise ValueError("zip is not base64 text") from error
        case list():
            try:
                return bytes(value)
            except (TypeError, ValueError) as error:
                raise ValueError("zip is not an array of byte values") from error
        case _:
            raise ValueError("zip is neither base64 text nor an array of byte values")


class ResultModel(BaseModel):
    """One result to store.

    Attributes:
        chain_task_id: task.
        deal_id: informative; the chain decides.
        task_index: informative.
        zip: the archive, or what its encryption made of it.
        determinist_hash: result digest that the enclave signed.
        enclave_signature: of the enclave challenge key over digest, task and worker; 65 zero bytes without enclave.
    """

    # Official clients of other versions may send members that are unknown here.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, validate_by_name=True, validate_by_alias=True)

    chain_task_id: str = Field(alias="chainTaskId", max_length=100)
    deal_id: str | None = Field(default=ZERO_BYTES32, alias="dealId", max_length=100)
    task_index: int | None = Field(default=0, alias="taskIndex")
    zip: Annotated[bytes, BeforeValidator(_zip_bytes)]
    determinist_hash: str | None = Field(default="", alias="deterministHash", max_length=100)
    enclave_signature: str | None = Field(default=EMPTY_SIGNATURE, alias="enclaveSignature", max_length=200)

    @classmethod
    def from_json(cls, data: bytes) -> ResultModel:
        """Read the wire form.

        Raises:
            InputError: not such a document.
        """
        try:
            return cls.model_validate(parse_json(data))
        except (ValidationError, ValueError, RecursionError) as error:
            raise InputError("the body is not a result model", code="results.model") from error

    def to_json(self) -> bytes:
        """The wire form, the archive as base64 text."""
        document = {
            "chainTaskId": self.chain_task_id,
            "dealId": self.deal_id,
            "taskIndex": self.task_index,
            "zip": base64.b64encode(self.zip).decode(),
            "deterministHash": self.determinist_hash,
            "enclaveSignature": self.enclave_signature,
        }
        return json.dumps(document).encode()
