"""What crosses the network: the official models of the secret management service (protocol, sections 1.5 and 3.1)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from adyton.base.types import ZERO_BYTES32

MAX_SECRET_BYTES: Final = 4096  # UTF-8 bytes of a value, inclusive, for every kind of secret

RESULT_ENCRYPTION_KEY: Final = "iexec-result-encryption-public-key"
DROPBOX_TOKEN: Final = "iexec-result-dropbox-token"  # noqa: S105  # the reserved name, not a token
IPFS_TOKEN: Final = "iexec-result-iexec-ipfs-token"  # noqa: S105  # the reserved name, not a token
RESULT_PROXY_URL: Final = "iexec-result-iexec-result-proxy-url"

UNAUTHORIZED_TEXT: Final = "Invalid authorization"
TOO_LARGE_TEXT: Final = "Secret size should not exceed 4 Kb"
EXISTS_TEXT: Final = "Secret already exists"
BAD_KEY_TEXT: Final = "Secret key should contain at most 64 characters from [0-9A-Za-z-_]"


class Framework(StrEnum):
    """TEE framework of a deal, and of one service instance."""

    SCONE = "SCONE"
    GRAMINE = "GRAMINE"
    TDX = "TDX"


class AuthorizationError(StrEnum):
    """Why an execution is not authorized, in the order in which it is checked."""

    EMPTY_PARAMS_UNAUTHORIZED = "EMPTY_PARAMS_UNAUTHORIZED"
    GET_CHAIN_TASK_FAILED = "GET_CHAIN_TASK_FAILED"
    TASK_NOT_ACTIVE = "TASK_NOT_ACTIVE"
    GET_CHAIN_DEAL_FAILED = "GET_CHAIN_DEAL_FAILED"
    NO_MATCH_ONCHAIN_TYPE = "NO_MATCH_ONCHAIN_TYPE"
    INVALID_SIGNATURE = "INVALID_SIGNATURE"


class SessionFailure(StrEnum):
    """``TeeSessionGenerationError``: every reason why ``/tee/sessions`` gives no session.

    A worker reports it as ``TEE_SESSION_GENERATION_`` and the name.
    """

    INVALID_AUTHORIZATION = "INVALID_AUTHORIZATION"
    EXECUTION_NOT_AUTHORIZED_EMPTY_PARAMS_UNAUTHORIZED = "EXECUTION_NOT_AUTHORIZED_EMPTY_PARAMS_UNAUTHORIZED"
    EXECUTION_NOT_AUTHORIZED_NO_MATCH_ONCHAIN_TYPE = "EXECUTION_NOT_AUTHORIZED_NO_MATCH_ONCHAIN_TYPE"
    EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED = "EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED"
    EXECUTION_NOT_AUTHORIZED_TASK_NOT_ACTIVE = "EXECUTION_NOT_AUTHORIZED_TASK_NOT_ACTIVE"
    EXECUTION_NOT_AUTHORIZED_GET_CHAIN_DEAL_FAILED = "EXECUTION_NOT_AUTHORIZED_GET_CHAIN_DEAL_FAILED"
    EXECUTION_NOT_AUTHORIZED_INVALID_SIGNATURE = "EXECUTION_NOT_AUTHORIZED_INVALID_SIGNATURE"
    PRE_COMPUTE_GET_DATASET_SECRET_FAILED = "PRE_COMPUTE_GET_DATASET_SECRET_FAILED"  # noqa: S105
    APP_COMPUTE_NO_ENCLAVE_CONFIG = "APP_COMPUTE_NO_ENCLAVE_CONFIG"
    APP_COMPUTE_INVALID_ENCLAVE_CONFIG = "APP_COMPUTE_INVALID_ENCLAVE_CONFIG"
    POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY = (
        "POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY"
    )
    POST_COMPUTE_GET_STORAGE_TOKENS_FAILED = "POST_COMPUTE_GET_STORAGE_TOKENS_FAILED"
    GET_SIGNATURE_TOKENS_FAILED_EMPTY_WORKER_ADDRESS = "GET_SIGNATURE_TOKENS_FAILED_EMPTY_WORKER_ADDRESS"
    GET_SIGNATURE_TOKENS_FAILED_EMPTY_PUBLIC_ENCLAVE_CHALLENGE = (
        "GET_SIGNATURE_TOKENS_FAILED_EMPTY_PUBLIC_ENCLAVE_CHALLENGE"
    )
    GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CHALLENGE = "GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CHALLENGE"
    GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CREDENTIALS = "GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CREDENTIALS"
    SECURE_SESSION_STORAGE_CALL_FAILED = "SECURE_SESSION_STORAGE_CALL_FAILED"
    SECURE_SESSION_GENERATION_FAILED = "SECURE_SESSION_GENERATION_FAILED"
    SECURE_SESSION_NO_TEE_FRAMEWORK = "SECURE_SESSION_NO_TEE_FRAMEWORK"
    GET_TASK_DESCRIPTION_FAILED = "GET_TASK_DESCRIPTION_FAILED"
    NO_SESSION_REQUEST = "NO_SESSION_REQUEST"
    NO_TASK_DESCRIPTION = "NO_TASK_DESCRIPTION"
    UNKNOWN_ISSUE = "UNKNOWN_ISSUE"

    @classmethod
    def not_authorized(cls, reason: AuthorizationError) -> SessionFailure:
        """The session failure of an authorization error."""
        return cls(f"EXECUTION_NOT_AUTHORIZED_{reason}")

    @property
    def status(self) -> int:
        """HTTP status of the answer that carries it."""
        refused = self is SessionFailure.INVALID_AUTHORIZATION or self.startswith("EXECUTION_NOT_AUTHORIZED_")
        return 401 if refused else 500


class _Wire(BaseModel):
    # Official peers are other programs at other versions: members they add are ignored, as theirs do with ours.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, validate_by_name=True, validate_by_alias=True)


class SignatureValue(_Wire):
    """A signature in its official envelope."""

    value: str = Field(max_length=4200)  # a contract account's (ERC-1271) may be long


class WorkerpoolAuthorization(_Wire):
    """The workerpool's permission for one worker to run one task; its text form is the official JSON.

    ``signature`` is the workerpool owner's over ``H(workerWallet, chainTaskId, enclaveChallenge)``; ``deal_id`` and
    ``task_index`` are informative, neither hashed nor checked. Encode with ``model_dump(by_alias=True)``.
    """

    chain_task_id: str = Field(default=ZERO_BYTES32, alias="chainTaskId", max_length=100)
    deal_id: str = Field(default=ZERO_BYTES32, alias="dealId", max_length=100)
    task_index: int = Field(default=0, alias="taskIndex")
    worker_wallet: str = Field(alias="workerWallet", max_length=100)
    enclave_challenge: str = Field(alias="enclaveChallenge", max_length=100)
    signature: SignatureValue


class ComputeProperties(_Wire):
    """The image of one measured helper program (pre- or post-compute)."""

    image: str
    fingerprint: str
    entrypoint: str
    heap_size_in_bytes: int = Field(alias="heapSizeInBytes")


class TeeProperties(_Wire):
    """What a worker must know of one framework version: which helper enclaves to run."""

    tee_framework: Framework = Field(alias="teeFramework", strict=False)
    tee_framework_version: str = Field(alias="teeFrameworkVersion")
    pre_compute_properties: ComputeProperties = Field(alias="preComputeProperties")
    post_compute_properties: ComputeProperties = Field(alias="postComputeProperties")
    las_image: str | None = Field(default=None, alias="lasImage")


class SessionData(_Wire):
    """Where the enclaves of a task find their session."""

    session_id: str = Field(alias="sessionId")
    secret_provisioning_url: str = Field(alias="secretProvisioningUrl")


class SessionAnswer(_Wire):
    """Envelope of the answer to ``/tee/sessions``: exactly one of the two is there."""

    data: SessionData | None = None
    error: str | None = None


class AttestationAnswer(_Wire):
    """What the service is: a self-signed certificate (PEM) with evidence over its TLS key and the asked nonce.

    Not in the official API.
    """

    certificate: str = Field(max_length=128 << 10)


class RotationAnswer(_Wire):
    """What a rotation of the keys did: rows sealed anew, seconds, and the generation of the exchanged database key.

    ``entry`` and ``hash`` are of the entry about the exchange in the CAS's audit log. Without an exchange these three
    are 0 and empty: the rows' keys are new then, the database key is not. Not in the official API.
    """

    rows: int
    seconds: float
    generation: int
    entry: int
    hash: str
