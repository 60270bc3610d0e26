"""The session document: a golden one, and every presence rule of protocol section 5.1."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.sms.support import (
    APP_FINGERPRINT,
    BENEFICIARY,
    DATASET,
    DEAL_ID,
    MRENCLAVE,
    POOL_OWNER,
    REQUESTER,
    TASK_ID,
    WORKER,
    bought_task,
    make_settings,
    pipeline,
)

from adyton.base.secret import Secret
from adyton.base.types import ZERO_ADDRESS, Address
from adyton.cas.language.session import parse_session
from adyton.chain.params import DealParams
from adyton.chain.params import parse as parse_params
from adyton.sms.access.authorize import Authorized
from adyton.sms.composition import session_maker
from adyton.sms.errors import SessionRefusedError
from adyton.sms.onchain.view import AppFacts
from adyton.sms.opening.environment import (
    app_environment,
    post_compute_environment,
    pre_compute_environment,
)
from adyton.sms.opening.scone import SconeSessionMaker, to_yaml
from adyton.sms.opening.session_maker import SessionRequest, new_session_id
from adyton.sms.opening.task import TaskDescription, TaskSecrets, describe, enclave_description, read_secrets
from adyton.sms.store.tables import SecretKey
from adyton.sms.wire import Framework, SessionFailure

TEE_KEY = Secret(bytes.fromhex("dd3b993ec21c71c1f6d63a5240850e0d4d8dd83ff70d29e49247958548c1d479"))
CALLBACK = Address("0x5555555555555555555555555555555555555555")
FULL_PARAMS = (
    '{"iexec_args":"--size 3","iexec_input_files":["http://host/file1","https://host/b.zip"],'
    '"iexec_secrets":{"1":"login","2":"login","7":"absent","0":"zero","-1":"minus","x":"word"},'
    '"iexec_result_encryption":true,"iexec_result_storage_provider":"ipfs",'
    '"iexec_result_storage_proxy":"http://proxy:13200"}'
)
STORED = {
    SecretKey.web3(DATASET): "dataset-key\n",
    SecretKey.app("0x1111111111111111111111111111111111111111"): " app secret ",
    SecretKey.requester(REQUESTER.address, "login"): "me:secret",
    SecretKey.web2(BENEFICIARY.address, "iexec-result-encryption-public-key"): " LS0tLS1CRUdJTg== \n",
    SecretKey.web2(WORKER.address, "iexec-result-iexec-ipfs-token"): "worker.jwt.token\n",
    SecretKey.web2(REQUESTER.address, "iexec-result-iexec-ipfs-token"): "requester.jwt.token",
    SecretKey.web2(REQUESTER.address, "iexec-result-dropbox-token"): "dropbox-token",
    SecretKey.web2(POOL_OWNER.address, "iexec-result-iexec-result-proxy-url"): "http://default-proxy:13200",
}


def description(params: str = "{}", *, dataset: bool = False, callback: Address = ZERO_ADDRESS) -> TaskDescription:
    chain = bought_task(params, dataset=dataset)
    chain.change_deal(callback=callback)
    return describe(chain, Authorized(chain.tasks[TASK_ID], chain.deals[DEAL_ID]))


def request(task: TaskDescription, stored: dict[SecretKey, str] | None = None) -> SessionRequest:
    database = STORED if stored is None else stored

    def read(key: SecretKey) -> Secret[str] | None:
        return Secret(database[key]) if key in database else None

    found = read_secrets(read, task, WORKER.address, TEE_KEY)
    return SessionRequest("abcdefghij0000" + TASK_ID, task, WORKER.address, found)


def without(*keys: SecretKey) -> dict[SecretKey, str]:
    return {key: value for key, value in STORED.items() if key not in keys}


def maker(*, java: bool = False) -> SconeSessionMaker:
    return SconeSessionMaker(
        [pipeline(java=java)],
        tolerate=["debug-mode"],
        ignore_advisories=["INTEL-SA-00334"],
        mode="hardware",
    )


def document(
    task: TaskDescription, stored: dict[SecretKey, str] | None = None, *, java: bool = False
) -> dict[str, Any]:
    made = maker(java=java)
    return made.document(made.plan(task), request(task, stored))


def names(made: dict[str, Any]) -> list[str]:
    return [service["name"] for service in made["services"]]


def test_starts_are_limited_where_the_settings_say_so(tmp_path: Path) -> None:
    task = description(FULL_PARAMS, dataset=True)
    for limit in (None, 4):
        made = session_maker(make_settings(tmp_path, max_activations=limit))
        services = made.document(made.plan(task), request(task))["services"]
        assert [service.get("max_activations") for service in services] == [limit] * 3
        assert ("max_activations" in services[0]) is (limit is not None)  # a CAS that is not ours would refuse the key
        parsed = parse_session(made.render(made.document(made.plan(task), request(task))).reveal().encode())
        assert [service.max_activations for service in parsed.services] == [limit] * 3


def test_the_document_reads_back_and_has_no_anchors() -> None:
    made = document(description(FULL_PARAMS, dataset=True))
    text = to_yaml(made).reveal()
    assert yaml.safe_load(text) == made
    assert not any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text))


@pytest.mark.parametrize(
    "value", ["true", "null", "0x12", "1e3", "yes", "a: b", "- x", "'", '"', "é\n\t☃", "", "a" * 4096]
)
def test_every_text_survives_yaml(value: str) -> None:
    stored = STORED | {SecretKey.requester(REQUESTER.address, "login"): value}
    made = document(description(FULL_PARAMS, dataset=True), stored)
    read = yaml.safe_load(to_yaml(made).reveal())
    assert read["services"][1]["environment"]["IEXEC_REQUESTER_SECRET_1"] == value


def test_all_environment_values_are_text() -> None:
    for service in document(description(FULL_PARAMS, dataset=True))["services"]:
        assert all(isinstance(value, str) for value in service["environment"].values())


def test_java_variables_only_where_the_pipeline_asks_and_never_for_the_app() -> None:
    java = {"LD_LIBRARY_PATH", "JAVA_TOOL_OPTIONS"}
    task = description(FULL_PARAMS, dataset=True)
    for service in document(task)["services"]:
        assert not java & set(service["environment"])
    for service in document(task, java=True)["services"]:
        assert (java <= set(service["environment"])) is (service["name"] != "app")


@pytest.mark.parametrize(
    ("params", "dataset", "expected"),
    [
        pytest.param("{}", False, ["app", "post-compute"], id="nothing to fetch"),
        pytest.param("{}", True, ["pre-compute", "app", "post-compute"], id="dataset"),
        pytest.param(
            '{"iexec_input_files":["http://h/f"]}', False, ["pre-compute", "app", "post-compute"], id="input file"
        ),
        pytest.param('{"iexec_input_files":[]}', False, ["app", "post-compute"], id="no input file"),
    ],
)
def test_when_there_is_a_pre_compute(params: str, dataset: bool, expected: list[str]) -> None:
    assert names(document(description(params, dataset=dataset))) == expected


@pytest.mark.parametrize(
    ("params", "command"),
    [
        ("{}", "python3 /app/app.py"),
        ('{"iexec_args":"  "}', "python3 /app/app.py"),
        ('{"iexec_args":"a  b"}', "python3 /app/app.py a  b"),
        ("plain text", "python3 /app/app.py plain text"),
        ('{"iexec_developer_logger":true}', 'python3 /app/app.py {"iexec_developer_logger":true}'),
    ],
)
def test_commands(params: str, command: str) -> None:
    assert document(description(params))["services"][0]["command"] == command


def refusal(task: TaskDescription, stored: dict[SecretKey, str] | None = None) -> SessionFailure:
    with pytest.raises(SessionRefusedError) as caught:
        document(task, stored)
    return caught.value.failure


def test_a_dataset_without_key() -> None:
    task = description("{}", dataset=True)
    expected = SessionFailure.PRE_COMPUTE_GET_DATASET_SECRET_FAILED
    assert refusal(task, without(SecretKey.web3(DATASET))) is expected


def test_a_wish_for_encryption_is_not_dropped_with_an_unknown_key() -> None:
    task = description('{"iexec_result_encryption":true,"unknown":1}')
    assert not task.params.understood
    assert refusal(task) is SessionFailure.SECURE_SESSION_GENERATION_FAILED


BENEFICIARY_KEY = SecretKey.web2(BENEFICIARY.address, "iexec-result-encryption-public-key")


@pytest.mark.parametrize("stored", [without(BENEFICIARY_KEY), STORED | {BENEFICIARY_KEY: " \n"}], ids=["none", "blank"])
def test_encryption_without_key(stored: dict[SecretKey, str]) -> None:
    expected = SessionFailure.POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY
    assert refusal(description('{"iexec_result_encryption":true}'), stored) is expected


def test_no_encryption_means_no_key() -> None:
    environment = post_compute_environment(request(description("{}")))
    assert environment["RESULT_ENCRYPTION"] == "false"
    assert environment["RESULT_ENCRYPTION_PUBLIC_KEY"] == ""


WORKER_TOKEN = SecretKey.web2(WORKER.address, "iexec-result-iexec-ipfs-token")
REQUESTER_TOKEN = SecretKey.web2(REQUESTER.address, "iexec-result-iexec-ipfs-token")
DROPBOX = SecretKey.web2(REQUESTER.address, "iexec-result-dropbox-token")
PROXY = SecretKey.web2(POOL_OWNER.address, "iexec-result-iexec-result-proxy-url")
DEFAULT = "http://default-proxy:13200"


@pytest.mark.parametrize(
    ("params", "stored", "provider", "proxy", "token"),
    [
        pytest.param("{}", STORED, "", DEFAULT, "worker.jwt.token", id="provider not said"),
        pytest.param(
            '{"iexec_result_storage_provider":"ipfs"}', STORED, "ipfs", DEFAULT, "worker.jwt.token", id="ipfs"
        ),
        pytest.param("{}", without(WORKER_TOKEN), "", DEFAULT, "requester.jwt.token", id="requester's token"),
        pytest.param("{}", without(PROXY), "", "", "worker.jwt.token", id="no default proxy"),
        pytest.param(
            '{"iexec_result_storage_proxy":"http://mine"}', STORED, "", "http://mine", "worker.jwt.token", id="proxy"
        ),
        pytest.param(
            '{"iexec_result_storage_provider":"dropbox"}', STORED, "dropbox", "", "dropbox-token", id="dropbox"
        ),
    ],
)
def test_storage(params: str, stored: dict[SecretKey, str], provider: str, proxy: str, token: str) -> None:
    environment = post_compute_environment(request(description(params), stored))
    assert environment["RESULT_STORAGE_PROVIDER"] == provider
    assert environment["RESULT_STORAGE_PROXY"] == proxy
    assert environment["RESULT_STORAGE_TOKEN"] == token
    assert len(environment) == 9


@pytest.mark.parametrize(
    ("params", "stored"),
    [
        pytest.param("{}", without(WORKER_TOKEN, REQUESTER_TOKEN), id="ipfs"),
        pytest.param('{"iexec_result_storage_provider":"dropbox"}', without(DROPBOX), id="dropbox"),
    ],
)
def test_no_storage_token(params: str, stored: dict[SecretKey, str]) -> None:
    assert refusal(description(params), stored) is SessionFailure.POST_COMPUTE_GET_STORAGE_TOKENS_FAILED


def test_a_callback_needs_and_gets_no_storage() -> None:
    task = description(FULL_PARAMS, callback=CALLBACK)
    environment = post_compute_environment(request(task, without(WORKER_TOKEN, REQUESTER_TOKEN)))
    assert environment["RESULT_STORAGE_CALLBACK"] == "true"
    assert {environment[f"RESULT_STORAGE_{name}"] for name in ("PROVIDER", "PROXY", "TOKEN")} == {""}


def test_secrets_of_others_stay_where_they_are() -> None:
    task = description("{}")
    request_ = request(task)
    assert request_.secrets == TaskSecrets(
        tee_key=TEE_KEY,
        app=Secret(" app secret "),
        storage_token=Secret("worker.jwt.token"),
        default_proxy=Secret(DEFAULT),
    )
    made = to_yaml(document(task)).reveal()
    for key in (SecretKey.web3(DATASET), BENEFICIARY_KEY, DROPBOX, REQUESTER_TOKEN):
        assert STORED[key].strip() not in made


def test_an_app_without_secret_has_no_variable() -> None:
    task = description("{}")
    stored = without(SecretKey.app("0x1111111111111111111111111111111111111111"))
    assert not [name for name in app_environment(request(task, stored)) if "SECRET" in name]


def test_an_app_without_dataset_sees_the_zero_address() -> None:
    environment = app_environment(request(description("{}")))
    assert environment["IEXEC_DATASET_ADDRESS"] == environment["IEXEC_DATASET_FILENAME"] == ZERO_ADDRESS
    assert environment["IEXEC_INPUT_FILES_NUMBER"] == "0"
    assert "IEXEC_INPUT_FILES_FOLDER" not in environment


def test_pre_compute_without_dataset() -> None:
    environment = pre_compute_environment(request(description('{"iexec_input_files":["http://h/f"]}')))
    assert environment["IS_DATASET_REQUIRED"] == "false"
    assert not [name for name in environment if name.startswith("IEXEC_DATASET")]


def test_requester_indexes() -> None:
    params = '{"iexec_secrets":{"3":"login","03":"login","0":"login","-1":"login","1.5":"login","99":"none"}}'
    environment = app_environment(request(description(params)))
    assert [name for name in environment if "REQUESTER" in name] == ["IEXEC_REQUESTER_SECRET_3"]


# -- the app's enclave description --------------------------------------------------------------------------------


def with_mrenclave(text: str) -> TaskDescription:
    task = description("{}")
    return replace(task, app=AppFacts(task.app.multiaddr, task.app.checksum, text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "[]",
        "null",
        "{",
        "[" * 100_000,
        MRENCLAVE[:-1] + ',"extra":1}',
        MRENCLAVE.replace('"SCONE"', '"scone"'),
        MRENCLAVE.replace('"SCONE"', '"SEV"'),
        MRENCLAVE.replace("1073741824", '"1073741824"'),
        MRENCLAVE.replace('"framework":"SCONE",', ""),
        MRENCLAVE + " " * 20_000 + "x",
    ],
    ids=lambda text: text[:24] or "empty",
)
def test_no_enclave_description(text: str) -> None:
    with pytest.raises(SessionRefusedError) as caught:
        maker().plan(with_mrenclave(text))
    assert caught.value.failure is SessionFailure.APP_COMPUTE_NO_ENCLAVE_CONFIG


def test_provider_is_the_old_name_of_framework() -> None:
    old = enclave_description(with_mrenclave(MRENCLAVE.replace('"framework"', '"provider"')).app)
    assert old == enclave_description(with_mrenclave(MRENCLAVE).app)
    assert old.framework is Framework.SCONE


def test_an_unknown_version() -> None:
    with pytest.raises(SessionRefusedError) as caught:
        maker().plan(with_mrenclave(MRENCLAVE.replace('"v1"', '"v9"')))
    assert caught.value.failure is SessionFailure.APP_COMPUTE_INVALID_ENCLAVE_CONFIG


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(MRENCLAVE.replace(APP_FINGERPRINT, APP_FINGERPRINT[2:]), id="31 bytes"),
        pytest.param(MRENCLAVE.replace(APP_FINGERPRINT, "zz" * 32), id="not hex"),
        pytest.param(MRENCLAVE.replace(APP_FINGERPRINT, ""), id="no fingerprint"),
        pytest.param(MRENCLAVE.replace("python3 /app/app.py", " "), id="no entrypoint"),
        pytest.param(MRENCLAVE.replace("1073741824", "0"), id="no heap"),
        pytest.param(MRENCLAVE.replace("1073741824", "-1"), id="negative heap"),
        pytest.param(MRENCLAVE.replace("SCONE", "GRAMINE"), id="of another framework"),
    ],
)
def test_incomplete_enclave_descriptions(text: str) -> None:
    assert refusal(with_mrenclave(text)) is SessionFailure.APP_COMPUTE_INVALID_ENCLAVE_CONFIG


@pytest.mark.parametrize("given", [APP_FINGERPRINT.upper(), "0x" + APP_FINGERPRINT])
def test_fingerprints_are_written_in_one_way(given: str) -> None:
    made = document(with_mrenclave(MRENCLAVE.replace(APP_FINGERPRINT, given)))
    assert made["services"][0]["mrenclaves"] == [APP_FINGERPRINT]


def test_session_ids() -> None:
    one, two = new_session_id(TASK_ID), new_session_id(TASK_ID)
    assert one != two
    assert one[10:] == "0000" + TASK_ID
    assert one[:10].isalnum()


def test_params_are_read_as_officially() -> None:
    assert parse_params("not json") == DealParams(args="not json", understood=False)
