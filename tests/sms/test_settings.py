from __future__ import annotations

from pathlib import Path

import pytest

from adyton.base.errors import InputError
from adyton.base.types import parse_address
from adyton.sms.settings import SmsSettings, parse_size
from adyton.sms.wire import Framework

PIPELINE = {
    "TEE_WORKER_PIPELINES_0_VERSION": "v5",
    "TEE_WORKER_PIPELINES_0_PRECOMPUTE_IMAGE": "adyton/pre:1",
    "TEE_WORKER_PIPELINES_0_PRECOMPUTE_FINGERPRINT": "a1" * 32,
    "TEE_WORKER_PIPELINES_0_PRECOMPUTE_ENTRYPOINT": "python3 -m pre",
    "TEE_WORKER_PIPELINES_0_PRECOMPUTE_HEAPSIZE": "1GB",
    "TEE_WORKER_PIPELINES_0_POSTCOMPUTE_IMAGE": "adyton/post:1",
    "TEE_WORKER_PIPELINES_0_POSTCOMPUTE_FINGERPRINT": "c3" * 32,
    "TEE_WORKER_PIPELINES_0_POSTCOMPUTE_ENTRYPOINT": "python3 -m post",
    "TEE_WORKER_PIPELINES_0_POSTCOMPUTE_HEAP_SIZE": "512MB",
}
SECOND = {name.replace("_0_", "_1_"): value for name, value in PIPELINE.items()} | {
    "TEE_WORKER_PIPELINES_1_VERSION": "v5.9"
}


def test_official_names() -> None:
    settings = SmsSettings.load(
        env={
            **PIPELINE,
            **SECOND,
            "IEXEC_SMS_TEE_RUNTIME_FRAMEWORK": "scone",
            "IEXEC_SMS_PORT": "13301",
            "IEXEC_CHAIN_ID": "65535",
            "IEXEC_BLOCKCHAIN_NODE_ADDRESS": "http://chain:8545",
            "IEXEC_HUB_ADDRESS": "0xc4b11f41746d3ad8504da5b383e1ab9aa969abc7",
            "IEXEC_SECRET_PROVISIONER_WEB_HOSTNAME": "cas",
            "IEXEC_SECRET_PROVISIONER_WEB_PORT": "9081",
            "IEXEC_SECRET_PROVISIONER_ENCLAVE_HOSTNAME": "cas.public",
            "IEXEC_SECRET_PROVISIONER_ENCLAVE_PORT": "19765",
            "IEXEC_SMS_IMAGE_LAS_IMAGE": "adyton/las:1",
            "IEXEC_SCONE_TOLERATED_INSECURE_OPTIONS": "debug-mode, outdated-tcb",
            "IEXEC_IGNORED_SGX_ADVISORIES": "INTEL-SA-00334",
            "ADYTON_SMS_DATABASE": "/volumes/db/sms.sqlite3",
            "PATH": "/usr/bin",
        }
    )
    assert settings.framework is Framework.SCONE
    assert (settings.port, settings.chain_id, settings.node_url) == (13301, 65535, "http://chain:8545")
    assert settings.hub == parse_address("0xc4b11f41746d3ad8504da5b383e1ab9aa969abc7")
    assert settings.provisioner_web_url == "https://cas:9081"
    assert settings.provisioner_enclave_address == "cas.public:19765"
    assert settings.tolerated_insecure_options == ("debug-mode", "outdated-tcb")
    assert settings.ignored_sgx_advisories == ("INTEL-SA-00334",)
    assert settings.database == "/volumes/db/sms.sqlite3"
    assert [pipeline.version for pipeline in settings.pipelines] == ["v5", "v5.9"]
    assert settings.pipelines[0].pre_compute.heap_size == 1 << 30
    assert settings.pipelines[0].post_compute.heap_size == 512 << 20
    properties = settings.properties(settings.pipelines[1]).model_dump(mode="json", by_alias=True)
    assert properties["teeFrameworkVersion"] == "v5.9"
    assert properties["preComputeProperties"]["heapSizeInBytes"] == 1073741824


def test_a_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / "sms.toml"
    file.write_text(
        'port = 1000\nframework = "SCONE"\n[[pipelines]]\nversion = "v1"\n'
        'pre_compute = {image = "i", fingerprint = "f", entrypoint = "e", heap_size = 1}\n'
        'post_compute = {image = "i", fingerprint = "f", entrypoint = "e", heap_size = "2KB"}\n'
    )
    settings = SmsSettings.load(file, env={"IEXEC_SMS_PORT": "2000"})
    assert settings.port == 2000
    assert settings.pipelines[0].post_compute.heap_size == 2048


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        pytest.param({"IEXEC_SMS_PORT": "70000"}, "port: Input should be less than or equal to 65535", id="port"),
        pytest.param({"IEXEC_CHAIN_ID": "0"}, "chain_id: Input should be greater than 0", id="chain id"),
        pytest.param({"IEXEC_HUB_ADDRESS": "0x" + "00" * 20}, "hub: Value error, the hub address", id="zero hub"),
        pytest.param({"IEXEC_HUB_ADDRESS": "hub.eth"}, "not a valid ethereum address", id="hub name"),
        pytest.param({"ADYTON_SMS_PROT": "1"}, "prot: Extra inputs are not permitted", id="misspelt"),
        pytest.param({"ADYTON_SMS_MAX_HEAD_AGE_S": "1"}, "max_head_age_s: Input should be greater", id="head age"),
        pytest.param({"IEXEC_SMS_TEE_RUNTIME_FRAMEWORK": "sev"}, "framework: Input should be", id="framework"),
        pytest.param({"TEE_SCONE_ATTESTATION_MODE": "maa"}, "attestation_mode: Input should be 'hardware'", id="maa"),
        pytest.param({"TEE_WORKER_PIPELINES_0_PRECOMPUTE_IMAGE": " "}, "Image must not be blank", id="blank image"),
        pytest.param({"TEE_WORKER_PIPELINES_0_VERSION": ""}, "Pipeline version must not be blank", id="blank version"),
        pytest.param({"TEE_WORKER_PIPELINES_0_PRECOMPUTE_HEAPSIZE": "much"}, "Heap size must be a number", id="heap"),
        pytest.param(
            {"TEE_WORKER_PIPELINES_0_PRECOMPUTE_HAEP": "1"}, "TEE_WORKER_PIPELINES_0_PRECOMPUTE_HAEP", id="stage key"
        ),
        pytest.param({"TEE_WORKER_PIPELINES_2_VERSION": "v9"}, "must count from 0 without gaps", id="gap"),
        pytest.param(SECOND | {"TEE_WORKER_PIPELINES_1_VERSION": "v5"}, "versions must differ", id="same version"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, str], part: str) -> None:
    with pytest.raises(InputError) as caught:
        SmsSettings.load(env=PIPELINE | changes)
    assert part in caught.value.message


def test_pipelines_are_needed() -> None:
    with pytest.raises(InputError) as caught:
        SmsSettings.load(env={})
    assert "pipelines" in caught.value.message


@pytest.mark.parametrize(("text", "size"), [("1", 1), ("10B", 10), ("1kb", 1024), ("3 GB", 3 << 30), (7, 7)])
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size
