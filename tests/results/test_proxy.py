"""The result proxy through its HTTP interface: tokens, uploads, refusals."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable

import httpx2
import pytest
from tests.results.conftest import DEAL_ID, TASK_ID, Stage

from adyton.base.secret import Secret
from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, Bytes32, keccak, to_hex, word_bytes
from adyton.chain import hashing
from adyton.chain.models import Contribution, ContributionStatus, TaskStatus
from adyton.chain.wallet import Wallet
from adyton.market.wire import RESULTS_SERVICE, challenge_document, sign_challenge
from adyton.results.wire import ResultModel
from adyton.web.client import AnswerError

DIGEST = Bytes32("0x" + "33" * 32)


def result(stage: Stage, *, signer: Wallet | None = None, digest: Bytes32 = DIGEST) -> ResultModel:
    message = hashing.contribution_message(TASK_ID, stage.worker.address, DIGEST)
    sign = to_hex((signer or stage.enclave).sign_personal(word_bytes(message)))
    return ResultModel(chain_task_id=TASK_ID, zip=b"PK\x03\x04 sealed", determinist_hash=digest, enclave_signature=sign)


def status_of(call: Callable[[], object]) -> int:
    with pytest.raises(AnswerError) as caught:
        call()
    return caught.value.status


def test_an_enclave_s_result_is_stored_once(stage: Stage) -> None:
    token = stage.proxy.token(stage.authorization(), stage.worker)
    assert token.reveal().count(".") == 2
    assert stage.proxy.ipfs_hash(TASK_ID) is None
    assert not stage.proxy.is_uploaded(TASK_ID, token)
    location = stage.proxy.upload(token, result(stage))
    assert stage.proxy.ipfs_hash(TASK_ID) == location.removeprefix("/ipfs/")
    assert stage.proxy.is_uploaded(TASK_ID, token)
    assert stage.ipfs.get(location, accept="application/zip") == b"PK\x03\x04 sealed"
    assert httpx2.get(stage.url + location).headers["content-type"] == "application/zip"
    assert status_of(lambda: stage.proxy.upload(token, result(stage))) == 400


def test_a_wallet_has_one_token(stage: Stage) -> None:
    first = stage.proxy.token(stage.authorization(), stage.worker)
    assert stage.proxy.token(stage.authorization(), stage.worker) == first
    assert stage.proxy.login(stage.worker, 134) == first


@pytest.mark.parametrize(
    "name",
    [
        "unknown task",
        "deadline",
        "unknown deal",
        "standard deal",
        "no enclave",
        "other pool",
        "other worker",
        "garbage",
    ],
)
def test_authorizations_that_are_refused(stage: Stage, name: str) -> None:
    authorization, worker = stage.authorization(), stage.worker
    match name:
        case "unknown task":
            stage.chain.tasks.clear()
        case "deadline":
            stage.change_task(final_deadline=1)
        case "unknown deal":
            stage.chain.deals.clear()
        case "standard deal":
            stage.change_deal(tag=ZERO_BYTES32)
        case "no enclave":
            authorization = stage.authorization(ZERO_ADDRESS)
        case "other pool":
            authorization = stage.authorization(signer=stage.requester)
        case "other worker":
            worker = stage.requester
        case _:
            answer = httpx2.post(stage.url + "/v1/results/token", content=b'{"a":1}')
            assert answer.status_code == 401
            return
    assert status_of(lambda: stage.proxy.token(authorization, worker)) == 401


def test_tokens_that_are_refused(stage: Stage) -> None:
    token = stage.proxy.token(stage.authorization(), stage.worker).reveal()
    head, claims, _ = token.split(".")
    none = "eyJhbGciOiJub25lIn0"  # {"alg":"none"}
    for wrong in ("", "a.b.c", token[:-1], token + "A", f"{none}.{claims}.", f"{head}.{claims}.", "Bearer " + token):
        assert status_of(lambda wrong=wrong: stage.proxy.upload(Secret(wrong), result(stage))) == 401, wrong  # type: ignore[misc]
        assert status_of(lambda wrong=wrong: stage.proxy.is_uploaded(TASK_ID, Secret(wrong))) == 401, wrong  # type: ignore[misc]


def test_uploads_without_the_enclave_s_proof_are_refused(stage: Stage) -> None:
    token = stage.proxy.token(stage.authorization(), stage.worker)
    stranger = stage.proxy.login(Wallet.create(), 134)
    other_digest = Bytes32("0x" + "44" * 32)
    refused = {
        "another signer": (token, result(stage, signer=stage.worker)),
        "another digest": (token, result(stage, digest=other_digest)),
        "no signature": (token, ResultModel(chain_task_id=TASK_ID, zip=b"x", determinist_hash=DIGEST)),
        "no digest": (token, result(stage, digest=Bytes32("0x12"))),
        "another wallet": (stranger, result(stage)),
        "unknown task": (token, ResultModel(chain_task_id="0x" + "77" * 32, zip=b"x")),
        "not a task": (token, ResultModel(chain_task_id="77", zip=b"x")),
    }
    for name, (used, model) in refused.items():
        assert status_of(lambda used=used, model=model: stage.proxy.upload(used, model)) == 400, name  # type: ignore[misc]
    stage.change_task(status=TaskStatus.REVEALING)
    assert status_of(lambda: stage.proxy.upload(token, result(stage))) == 400
    stage.change_task(status=TaskStatus.ACTIVE)
    stage.proxy.upload(token, result(stage))


def test_the_requester_s_token_needs_the_proof_too(stage: Stage) -> None:
    token = stage.proxy.login(stage.requester, 134)
    assert status_of(lambda: stage.proxy.upload(token, result(stage))) == 400  # no worker is authorized
    stage.proxy.token(stage.authorization(), stage.worker)
    assert status_of(lambda: stage.proxy.upload(token, result(stage, signer=stage.requester))) == 400
    assert stage.proxy.upload(token, result(stage)).startswith("/ipfs/Qm")


def archive(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name, data in files.items():
            packed.writestr(name.replace("__", "/").replace("_json", ".json"), data)
    return stream.getvalue()


def reveal(stage: Stage, digest: Bytes32) -> None:
    stage.change_deal(tag=ZERO_BYTES32)
    stage.change_task(status=TaskStatus.REVEALING)
    stage.chain.contributions[TASK_ID, stage.worker.address] = Contribution(
        ContributionStatus.PROVED, hashing.result_hash(TASK_ID, digest), ZERO_BYTES32, ZERO_ADDRESS, 1
    )


def test_a_standard_result_must_be_the_revealed_one(stage: Stage) -> None:
    computed = json.dumps({"deterministic-output-path": "/iexec_out/result"}).encode()
    packed = archive(computed_json=computed, result=b"Hello\n")
    digest = Bytes32("0x66a045b452102c59d840ec097d59d9467e13a3f34f6494e539ffd32c1bb35f18")  # SMS reference 10.1
    reveal(stage, digest)
    token = stage.proxy.token(stage.authorization(ZERO_ADDRESS), stage.worker)
    other = ResultModel(chain_task_id=TASK_ID, zip=archive(computed_json=computed, result=b"Other\n"))
    assert status_of(lambda: stage.proxy.upload(token, other)) == 400
    assert status_of(lambda: stage.proxy.upload(token, ResultModel(chain_task_id=TASK_ID, zip=b"no zip"))) == 400
    stranger = stage.proxy.login(Wallet.create(), 134)
    model = ResultModel(chain_task_id=TASK_ID, zip=packed)
    assert status_of(lambda: stage.proxy.upload(stranger, model)) == 400
    stage.proxy.upload(token, model)


def test_a_standard_folder_result(stage: Stage) -> None:
    computed = json.dumps({"deterministic-output-path": "/iexec_out/out"}).encode()
    packed = archive(computed_json=computed, out__b=b"content 2", out__a=b"content 1", out__sub__c=b"ignored")
    reveal(stage, Bytes32("0x72c4f24e985ca67e658310fbbb4d408369cba553676d625cb5bf74391f22f010"))  # SMS reference 10.1
    token = stage.proxy.token(stage.authorization(ZERO_ADDRESS), stage.worker)
    stage.proxy.upload(token, ResultModel(chain_task_id=TASK_ID, zip=packed))


def test_a_standard_callback_result(stage: Stage) -> None:
    packed = archive(computed_json=b'{"callback-data":"0x1234"}')
    reveal(stage, Bytes32(to_hex(keccak(bytes.fromhex("1234")))))
    stage.change_deal(callback=stage.pool.address)
    token = stage.proxy.token(stage.authorization(ZERO_ADDRESS), stage.worker)
    stage.proxy.upload(token, ResultModel(chain_task_id=TASK_ID, zip=packed))


def test_the_archive_may_be_an_array_of_numbers(stage: Stage) -> None:
    token = stage.proxy.token(stage.authorization(), stage.worker)
    document = json.loads(result(stage).to_json()) | {"zip": list(b"PK from rust"), "image": None, "dealId": DEAL_ID}
    answer = httpx2.post(stage.url + "/v1/results", json=document, headers={"Authorization": token.reveal()})
    assert answer.status_code == 200
    assert stage.ipfs.get(answer.text) == b"PK from rust"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"chainTaskId":"0x1","zip":[256]}',
        b'{"chainTaskId":1,"zip":""}',
        b'{"chainTaskId":"0x1","zip":"***"}',
        b'{"chainTaskId":"0x1","zip":["a"]}',
    ],
)
def test_bodies_that_are_no_result(stage: Stage, body: bytes) -> None:
    token = stage.proxy.login(stage.worker, 134)
    answer = httpx2.post(stage.url + "/v1/results", content=body, headers={"Authorization": token.reveal()})
    assert answer.status_code == 400


def test_a_body_over_the_limit(stage: Stage) -> None:
    token = stage.proxy.login(stage.worker, 134)
    answer = httpx2.post(stage.url + "/v1/results", content=bytes(100_001), headers={"Authorization": token.reveal()})
    assert answer.status_code == 413


def test_a_login_works_once(stage: Stage) -> None:
    query = {"address": stage.worker.address, "chainId": "134"}
    document = httpx2.get(stage.url + "/results/challenge", params=query).json()
    assert document["data"]["domain"]["name"] == RESULTS_SERVICE
    token = str(sign_challenge(document, stage.worker, 134))

    def post(text: str, chain_id: str = "134") -> int:
        return httpx2.post(f"{stage.url}/results/login?chainId={chain_id}", content=text).status_code

    forged = sign_challenge(challenge_document(RESULTS_SERVICE, 134, "x" * 32).to_json(), stage.worker, 134)
    assert (post(str(forged)), post("nothing"), post(token, "1")) == (401, 401, 400)
    assert post(token) == 200
    assert post(token) == 401


def test_health_and_version(stage: Stage) -> None:
    assert httpx2.get(stage.url + "/actuator/health").json() == {"status": "UP"}
    assert httpx2.get(stage.url + "/version").text
