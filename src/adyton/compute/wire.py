"""What the stage enclaves and the worker say to each other (protocol: SMS reference 6.3, 6.4, 7.6, 7.9).

Causes are the official names; upstream gives them no numbers. Exit codes are those of both stage programs.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from adyton.base.types import Address, Bytes32
from adyton.chain.hashing import concat_hash

MAX_CAUSES = 1000  # one per dataset of a full bulk slice and per input file, with room to spare
MAX_MESSAGE_CHARS = 2000


class Stage(StrEnum):
    """The two enclaves around the application; the value is the path segment of the worker's routes."""

    PRE = "pre"
    POST = "post"


class StageExit(IntEnum):
    """Exit codes of both stage programs."""

    OK = 0
    REPORTED_FAILURE = 1
    UNREPORTED_FAILURE = 2
    TASK_ID_MISSING = 3


class PreCause(StrEnum):
    """Why the pre-compute stage failed."""

    OUTPUT_PATH_MISSING = "PRE_COMPUTE_OUTPUT_PATH_MISSING"
    OUTPUT_FOLDER_NOT_FOUND = "PRE_COMPUTE_OUTPUT_FOLDER_NOT_FOUND"
    IS_DATASET_REQUIRED_MISSING = "PRE_COMPUTE_IS_DATASET_REQUIRED_MISSING"
    DATASET_URL_MISSING = "PRE_COMPUTE_DATASET_URL_MISSING"
    DATASET_KEY_MISSING = "PRE_COMPUTE_DATASET_KEY_MISSING"
    DATASET_CHECKSUM_MISSING = "PRE_COMPUTE_DATASET_CHECKSUM_MISSING"
    DATASET_FILENAME_MISSING = "PRE_COMPUTE_DATASET_FILENAME_MISSING"
    INPUT_FILES_NUMBER_MISSING = "PRE_COMPUTE_INPUT_FILES_NUMBER_MISSING"
    AT_LEAST_ONE_INPUT_FILE_URL_MISSING = "PRE_COMPUTE_AT_LEAST_ONE_INPUT_FILE_URL_MISSING"
    DATASET_DOWNLOAD_FAILED = "PRE_COMPUTE_DATASET_DOWNLOAD_FAILED"
    INVALID_DATASET_CHECKSUM = "PRE_COMPUTE_INVALID_DATASET_CHECKSUM"
    DATASET_DECRYPTION_FAILED = "PRE_COMPUTE_DATASET_DECRYPTION_FAILED"
    SAVING_PLAIN_DATASET_FAILED = "PRE_COMPUTE_SAVING_PLAIN_DATASET_FAILED"
    INPUT_FILE_DOWNLOAD_FAILED = "PRE_COMPUTE_INPUT_FILE_DOWNLOAD_FAILED"
    WORKER_ADDRESS_MISSING = "PRE_COMPUTE_WORKER_ADDRESS_MISSING"
    TEE_CHALLENGE_PRIVATE_KEY_MISSING = "PRE_COMPUTE_TEE_CHALLENGE_PRIVATE_KEY_MISSING"
    INVALID_TEE_SIGNATURE = "PRE_COMPUTE_INVALID_TEE_SIGNATURE"
    FAILED_UNKNOWN_ISSUE = "PRE_COMPUTE_FAILED_UNKNOWN_ISSUE"


class PostCause(StrEnum):
    """Why the post-compute stage failed."""

    WORKER_ADDRESS_MISSING = "POST_COMPUTE_WORKER_ADDRESS_MISSING"
    TEE_CHALLENGE_PRIVATE_KEY_MISSING = "POST_COMPUTE_TEE_CHALLENGE_PRIVATE_KEY_MISSING"
    INVALID_TEE_SIGNATURE = "POST_COMPUTE_INVALID_TEE_SIGNATURE"
    ENCRYPTION_PUBLIC_KEY_MISSING = "POST_COMPUTE_ENCRYPTION_PUBLIC_KEY_MISSING"
    MALFORMED_ENCRYPTION_PUBLIC_KEY = "POST_COMPUTE_MALFORMED_ENCRYPTION_PUBLIC_KEY"
    ENCRYPTION_FAILED = "POST_COMPUTE_ENCRYPTION_FAILED"
    STORAGE_TOKEN_MISSING = "POST_COMPUTE_STORAGE_TOKEN_MISSING"  # noqa: S105  # the name of a cause
    COMPUTED_FILE_NOT_FOUND = "POST_COMPUTE_COMPUTED_FILE_NOT_FOUND"
    RESULT_DIGEST_COMPUTATION_FAILED = "POST_COMPUTE_RESULT_DIGEST_COMPUTATION_FAILED"
    OUT_FOLDER_ZIP_FAILED = "POST_COMPUTE_OUT_FOLDER_ZIP_FAILED"
    TOO_LONG_RESULT_FILE_NAME = "POST_COMPUTE_TOO_LONG_RESULT_FILE_NAME"
    RESULT_FILE_NOT_FOUND = "POST_COMPUTE_RESULT_FILE_NOT_FOUND"
    DROPBOX_UPLOAD_FAILED = "POST_COMPUTE_DROPBOX_UPLOAD_FAILED"
    IPFS_UPLOAD_FAILED = "POST_COMPUTE_IPFS_UPLOAD_FAILED"
    SEND_COMPUTED_FILE_FAILED = "POST_COMPUTE_SEND_COMPUTED_FILE_FAILED"
    FAILED_UNKNOWN_ISSUE = "POST_COMPUTE_FAILED_UNKNOWN_ISSUE"


class ExitCause(BaseModel):
    """One reason why a stage failed, as the stage reports it to the worker."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    cause: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^(PRE|POST)_COMPUTE_[A-Z_]+$")]
    message: Annotated[str | None, Field(max_length=MAX_MESSAGE_CHARS)] = None


class ComputedFileModel(BaseModel):
    """Body of ``POST /compute/post/{taskId}/computed``: the completed ``computed.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    deterministic_output_path: Annotated[str | None, Field(alias="deterministic-output-path")] = None
    callback_data: Annotated[str | None, Field(alias="callback-data")] = None
    task_id: Annotated[str | None, Field(alias="task-id")] = None
    result_digest: Annotated[str | None, Field(alias="result-digest")] = None
    enclave_signature: Annotated[str | None, Field(alias="enclave-signature")] = None
    error_message: Annotated[str | None, Field(alias="error-message")] = None


def stage_message(task_id: Bytes32, worker: Address) -> Bytes32:
    """The hash that a stage signs (EIP-191, enclave challenge key) to speak to the worker: ``H(taskId, worker)``.

    The order differs from the scheduler's authorization, which starts with the worker (SMS reference, section 2).
    """
    return concat_hash(task_id, worker)
