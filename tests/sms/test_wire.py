"""The official models: names, statuses, members, and that they read back what they write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.sms.support import authorization, make_settings

from adyton.base.types import ZERO_BYTES32
from adyton.sms.wire import (
    AuthorizationError,
    Framework,
    SessionAnswer,
    SessionData,
    SessionFailure,
    TeeProperties,
    WorkerpoolAuthorization,
)

REFUSED = [
    "INVALID_AUTHORIZATION",
    "EXECUTION_NOT_AUTHORIZED_EMPTY_PARAMS_UNAUTHORIZED",
    "EXECUTION_NOT_AUTHORIZED_NO_MATCH_ONCHAIN_TYPE",
    "EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED",
    "EXECUTION_NOT_AUTHORIZED_TASK_NOT_ACTIVE",
    "EXECUTION_NOT_AUTHORIZED_GET_CHAIN_DEAL_FAILED",
    "EXECUTION_NOT_AUTHORIZED_INVALID_SIGNATURE",
]
FAILED = [
    "PRE_COMPUTE_GET_DATASET_SECRET_FAILED",
    "APP_COMPUTE_NO_ENCLAVE_CONFIG",
    "APP_COMPUTE_INVALID_ENCLAVE_CONFIG",
    "POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY",
    "POST_COMPUTE_GET_STORAGE_TOKENS_FAILED",
    "GET_SIGNATURE_TOKENS_FAILED_EMPTY_WORKER_ADDRESS",
    "GET_SIGNATURE_TOKENS_FAILED_EMPTY_PUBLIC_ENCLAVE_CHALLENGE",
    "GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CHALLENGE",
    "GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CREDENTIALS",
    "SECURE_SESSION_STORAGE_CALL_FAILED",
    "SECURE_SESSION_GENERATION_FAILED",
    "SECURE_SESSION_NO_TEE_FRAMEWORK",
    "GET_TASK_DESCRIPTION_FAILED",
    "NO_SESSION_REQUEST",
    "NO_TASK_DESCRIPTION",
    "UNKNOWN_ISSUE",
]


def test_every_official_failure_and_its_status() -> None:
    assert {failure.value: failure.status for failure in SessionFailure} == {
        **dict.fromkeys(REFUSED, 401),
        **dict.fromkeys(FAILED, 500),
    }
    assert {f"EXECUTION_NOT_AUTHORIZED_{reason}" for reason in AuthorizationError} == set(REFUSED[1:])


def test_the_authorization() -> None:
    made = authorization("0x" + "ee" * 20)
    document = json.loads(made.model_dump_json(by_alias=True))
    assert set(document) == {
        "chainTaskId",
        "dealId",
        "taskIndex",
        "workerWallet",
        "enclaveChallenge",
        "signature",
    }
    assert set(document["signature"]) == {"value"}
    assert WorkerpoolAuthorization.model_validate_json(json.dumps(document)) == made


def test_what_the_authorization_may_leave_out() -> None:
    text = '{"workerWallet":"0x1","enclaveChallenge":"0x2","signature":{"value":"0x3"},"added":"later"}'
    made = WorkerpoolAuthorization.model_validate_json(text)
    assert (made.chain_task_id, made.deal_id, made.task_index) == (ZERO_BYTES32, ZERO_BYTES32, 0)


@pytest.mark.parametrize("member", ["workerWallet", "enclaveChallenge", "signature"])
@pytest.mark.parametrize("value", [None, 1, [], {}], ids=str)
def test_what_it_may_not(member: str, value: object) -> None:
    document = authorization("0x" + "ee" * 20).model_dump(by_alias=True) | {member: value}
    with pytest.raises(ValidationError):
        WorkerpoolAuthorization.model_validate_json(json.dumps(document))


def test_answers_have_one_member() -> None:
    data = SessionData(session_id="s", secret_provisioning_url="h:1")
    answers = {
        '{"data":{"sessionId":"s","secretProvisioningUrl":"h:1"}}': SessionAnswer(data=data),
        '{"error":"UNKNOWN_ISSUE"}': SessionAnswer(error="UNKNOWN_ISSUE"),
    }
    for text, answer in answers.items():
        assert answer.model_dump_json(by_alias=True, exclude_none=True) == text
        assert SessionAnswer.model_validate_json(text) == answer


@pytest.mark.parametrize("framework", list(Framework))
def test_properties_read_back(tmp_path: Path, framework: Framework) -> None:
    tdx = {"provisioner_post_url": "https://s", "remote_attestation_url": "u"}
    settings = make_settings(tmp_path, framework=framework, las_image="las:1", **tdx)
    made = settings.properties(settings.pipelines[0])
    text = made.model_dump_json(by_alias=True, exclude_none=True)
    assert TeeProperties.model_validate_json(text) == made
    assert ("lasImage" in json.loads(text)) is (framework is Framework.SCONE)
