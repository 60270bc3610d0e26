from __future__ import annotations

from pathlib import Path

import pytest

from adyton.base.errors import InputError
from adyton.base.secret import Secret
from adyton.base.types import parse_address
from adyton.sms.official import PROPERTIES, WITHOUT_EFFECT, spring_name
from adyton.sms.pipelines import parse_size
from adyton.sms.settings import SmsSettings, parse_duration
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


OFFICIAL: dict[str, tuple[str | None, str, str, object]] = {
    # property: (documented environment name, value, field, what it becomes)
    "spring.profiles.active": ("IEXEC_SMS_TEE_RUNTIME_FRAMEWORK", "scone", "framework", Framework.SCONE),
    "server.port": ("IEXEC_SMS_PORT", "13301", "port", 13301),
    "spring.datasource.url": ("IEXEC_SMS_H2_URL", "jdbc:postgresql://db/sms", "database", "postgresql://db/sms"),
    "admin.storage-location": ("IEXEC_SMS_ADMIN_STORAGE_LOCATION", "/b", "admin_storage_location", Path("/b")),
    "admin.out-of-service.enabled": (None, "false", "out_of_service_enabled", False),
    "encryption.aes-key-path": ("IEXEC_SMS_STORAGE_ENCRYPTION_AES_KEY_PATH", "/k", "database_key_file", Path("/k")),
    "chain.id": ("IEXEC_CHAIN_ID", "42161", "chain_id", 42161),
    "chain.node-address": ("IEXEC_BLOCKCHAIN_NODE_ADDRESS", "http://chain:8545", "node_url", "http://chain:8545"),
    "chain.hub-address": ("IEXEC_HUB_ADDRESS", "0x" + "12" * 20, "hub", parse_address("0x" + "12" * 20)),
    "chain.block-time": ("IEXEC_BLOCK_TIME", "PT0.25S", "block_time_s", 0.25),
    "ipfs.gateway-url": (None, "https://gateway/", "ipfs_gateway_url", "https://gateway"),
    "metrics.storage.refresh-interval": ("IEXEC_SMS_METRICS_STORAGE_REFRESH_INTERVAL", "60", "metrics_refresh_s", 60),
    "tee.secret-provisioner.web.hostname": (
        "IEXEC_SECRET_PROVISIONER_WEB_HOSTNAME",
        "cas",
        "provisioner_web_hostname",
        "cas",
    ),
    "tee.secret-provisioner.web.port": ("IEXEC_SECRET_PROVISIONER_WEB_PORT", "9081", "provisioner_web_port", 9081),
    "tee.secret-provisioner.enclave.hostname": (
        "IEXEC_SECRET_PROVISIONER_ENCLAVE_HOSTNAME",
        "cas.public",
        "provisioner_enclave_hostname",
        "cas.public",
    ),
    "tee.secret-provisioner.enclave.port": (
        "IEXEC_SECRET_PROVISIONER_ENCLAVE_PORT",
        "19765",
        "provisioner_enclave_port",
        19765,
    ),
    "tee.secret-provisioner.post-url": (None, "https://sps:1", "provisioner_post_url", "https://sps:1"),
    "tee.secret-provisioner.remote-attestation-url": (None, "sps:2/ra", "remote_attestation_url", "sps:2/ra"),
    "tee.scone.las-image": ("IEXEC_SMS_IMAGE_LAS_IMAGE", "las:1", "las_image", "las:1"),
    "tee.scone.attestation.tolerated-insecure-options": (
        "IEXEC_SCONE_TOLERATED_INSECURE_OPTIONS",
        "debug-mode, outdated-tcb",
        "tolerated_insecure_options",
        ("debug-mode", "outdated-tcb"),
    ),
    "tee.scone.attestation.ignored-sgx-advisories": (
        "IEXEC_IGNORED_SGX_ADVISORIES",
        "INTEL-SA-00334",
        "ignored_sgx_advisories",
        ("INTEL-SA-00334",),
    ),
    "tee.scone.attestation.mode": ("TEE_SCONE_ATTESTATION_MODE", "hardware", "attestation_mode", "hardware"),
    "tee.scone.attestation.url": (
        "TEE_SCONE_ATTESTATION_URL",
        "https://maa",
        "attestation_urls",
        ("https://maa",),
    ),
    "tee.scone.attestation.urls": (
        "TEE_SCONE_ATTESTATION_URLS",
        "https://a,https://b",
        "attestation_urls",
        ("https://a", "https://b"),
    ),
}
every_property = pytest.mark.parametrize(("name", "case"), OFFICIAL.items(), ids=OFFICIAL.keys())


def test_every_property_is_in_the_table() -> None:
    assert set(OFFICIAL) | {"admin.api-key"} == set(PROPERTIES)


@every_property
def test_every_spelling_of_an_official_setting(
    name: str, case: tuple[str | None, str, str, object], tmp_path: Path
) -> None:
    documented, value, field, expected = case
    for env in {documented or spring_name(name), spring_name(name)}:
        assert getattr(SmsSettings.load(env=PIPELINE | {env: value}), field) == expected
    for suffix, text in ((".toml", f'"{value}"'), (".yml", f'"{value}"')):
        file = tmp_path / f"settings{suffix}"
        if suffix == ".toml":
            file.write_text(f"{name} = {text}\n")
        else:
            *parents, leaf = name.split(".")
            lines = [f"{'  ' * depth}{parent}:" for depth, parent in enumerate(parents)]
            file.write_text("\n".join([*lines, f"{'  ' * len(parents)}{leaf}: {text}"]) + "\n")
        assert getattr(SmsSettings.load(file, env=PIPELINE), field) == expected


def test_the_admin_key_is_a_secret_under_every_name(tmp_path: Path) -> None:
    for env in ("IEXEC_SMS_ADMIN_API_KEY", "ADMIN_APIKEY", "ADYTON_SMS_ADMIN_API_KEY"):
        settings = SmsSettings.load(env=PIPELINE | {env: "canary"})
        key = settings.admin_key()
        assert key is not None
        assert key.reveal() == "canary"
        assert "canary" not in repr(settings)
    file = tmp_path / "key"
    settings = SmsSettings.load(env=PIPELINE, admin_api_key_file=file)
    assert settings.admin_key() is None
    file.write_text("first\n")
    assert settings.admin_key() == Secret("first")
    assert SmsSettings.load(env=PIPELINE | {"IEXEC_SMS_ADMIN_API_KEY": " "}).admin_key() is None


def test_an_official_file(tmp_path: Path) -> None:
    stage = "{image: i, fingerprint: f, heap-size: 1GB, entrypoint: e}"
    file = tmp_path / "application.yml"
    file.write_text(
        "server: {port: 13302}\nchain:\n  id: 134\n  sidechain: true\ntee:\n  worker:\n    pipelines:\n"
        f"      - version: v5\n        pre-compute: {stage}\n        post-compute: {stage}\n"
    )
    settings = SmsSettings.load(file, env={"IEXEC_CHAIN_ID": "65535"})
    assert (settings.port, settings.chain_id) == (13302, 65535)
    assert settings.pipelines[0].pre_compute.heap_size == 1 << 30
    assert list(settings.without_effect) == ["chain.sidechain"]


@pytest.mark.parametrize("name", [env for env, _ in WITHOUT_EFFECT.values() if env])
def test_what_has_no_effect_is_said(name: str) -> None:
    assert list(SmsSettings.load(env=PIPELINE | {name: "1"}).without_effect) == [name]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        pytest.param(
            {"IEXEC_SMS_PORT": "70000"}, ["port (IEXEC_SMS_PORT)", "less than or equal to 65535", "'70000'"], id="port"
        ),
        pytest.param({"SERVER_PORT": "x"}, ["port (SERVER_PORT)", "valid integer", "'x'"], id="port is no number"),
        pytest.param({"ADYTON_SMS_TLS_PORT": "65536"}, ["tls_port", "less than or equal to 65535"], id="tls port"),
        pytest.param({"ADYTON_SMS_TLS_PORT": "13300"}, ["port and tls_port are both 13300"], id="one port for both"),
        pytest.param({"ADYTON_SMS_PCCS_URL": "http://pccs"}, ["pccs_url needs anchors"], id="collateral of no root"),
        pytest.param({"ADYTON_SMS_ANCHORS": "intel,sim:1"}, ["anchors.1", "'sim:1'"], id="anchor"),
        pytest.param({"IEXEC_CHAIN_ID": "0"}, ["chain_id (IEXEC_CHAIN_ID)", "greater than 0"], id="chain id"),
        pytest.param({"IEXEC_HUB_ADDRESS": "0x" + "00" * 20}, ["hub (", "must not be zero"], id="zero hub"),
        pytest.param({"IEXEC_HUB_ADDRESS": "hub.eth"}, ["not a valid ethereum address"], id="hub name"),
        pytest.param({"IEXEC_BLOCK_TIME": "PT21S"}, ["block_time_s", "less than or equal to 20"], id="slow blocks"),
        pytest.param({"IEXEC_BLOCK_TIME": "99ms"}, ["greater than or equal to 0.1", "'99ms'"], id="fast blocks"),
        pytest.param({"IEXEC_BLOCK_TIME": "soon"}, ["duration like PT5S"], id="no duration"),
        pytest.param({"IEXEC_BLOCKCHAIN_NODE_ADDRESS": "chain:8545"}, ["http:// or https:// URL"], id="node"),
        pytest.param({"IPFS_GATEWAYURL": ""}, ["ipfs_gateway_url (IPFS_GATEWAYURL)", "URL"], id="gateway"),
        pytest.param({"ADYTON_SMS_WITNESS_NODE_URLS": "http://a,b"}, ["witness_node_urls.1", "URL"], id="witness"),
        pytest.param({"IEXEC_SMS_PROT": "1"}, ["unknown setting IEXEC_SMS_PROT"], id="misspelt official"),
        pytest.param({"ADYTON_SMS_PROT": "1"}, ["prot", "Extra inputs are not permitted"], id="misspelt"),
        pytest.param({"ADYTON_SMS_MAX_HEAD_AGE_S": "1"}, ["max_head_age_s", "greater than or equal to 5"], id="age"),
        pytest.param(
            {"ADYTON_SMS_MAX_HEAD_AGE_S": "30", "IEXEC_BLOCK_TIME": "20"}, ["two block times (40)"], id="age and blocks"
        ),
        pytest.param({"IEXEC_SMS_TEE_RUNTIME_FRAMEWORK": "sev"}, ["framework (", "'SCONE'"], id="framework"),
        pytest.param({"IEXEC_SMS_TEE_RUNTIME_FRAMEWORK": "tdx"}, ["TDX needs provisioner_post_url"], id="tdx urls"),
        pytest.param(
            SECOND | {"IEXEC_SMS_TEE_RUNTIME_FRAMEWORK": "tdx"}, ["exactly one pipeline, not 2"], id="tdx pipelines"
        ),
        pytest.param({"ADYTON_SMS_PROVISIONER_POST_URL": "http://sps"}, ["must be an https:// URL"], id="plain sps"),
        pytest.param({"TEE_SCONE_ATTESTATION_MODE": "maa"}, ["maa needs attestation_urls"], id="maa without URL"),
        pytest.param({"TEE_SCONE_ATTESTATION_MODE": "none"}, ["'hardware' or 'maa'", "'none'"], id="mode"),
        pytest.param(
            {"IEXEC_SCONE_TOLERATED_INSECURE_OPTIONS": "everything"},
            ["tolerated_insecure_options.0", "debug-mode", "'everything'"],
            id="tolerate",
        ),
        pytest.param({"IEXEC_IGNORED_SGX_ADVISORIES": "SA-1"}, ["ignored_sgx_advisories.0", "'SA-1'"], id="advisory"),
        pytest.param({"IEXEC_SMS_H2_URL": "jdbc:h2:file:/data/sms"}, ["H2 is not read"], id="h2"),
        pytest.param({"ADYTON_SMS_TRUSTED_PROXIES": "10.0.0.1/8"}, ["trusted_proxies", "host bits"], id="proxy"),
        pytest.param(
            {"IEXEC_SMS_PORT": "1", "SERVER_PORT": "2"}, ["IEXEC_SMS_PORT and SERVER_PORT", "different"], id="two names"
        ),
        pytest.param({"TEE_WORKER_PIPELINES_0_PRECOMPUTE_IMAGE": " "}, ["Image must not be blank"], id="image"),
        pytest.param(
            {"TEE_WORKER_PIPELINES_0_PRECOMPUTE_ENTRYPOINT": ""}, ["Entrypoint must not be blank"], id="entry"
        ),
        pytest.param({"TEE_WORKER_PIPELINES_0_POSTCOMPUTE_FINGERPRINT": ""}, ["Fingerprint must not be"], id="print"),
        pytest.param(
            {"TEE_WORKER_PIPELINES_0_VERSION": ""}, ["Pipeline version must not be blank"], id="blank version"
        ),
        pytest.param({"TEE_WORKER_PIPELINES_0_PRECOMPUTE_HEAPSIZE": "much"}, ["Heap size must be a number"], id="heap"),
        pytest.param(
            {"TEE_WORKER_PIPELINES_0_PRECOMPUTE_HAEP": "1"}, ["TEE_WORKER_PIPELINES_0_PRECOMPUTE_HAEP"], id="stage key"
        ),
        pytest.param({"TEE_WORKER_PIPELINES_2_VERSION": "v9"}, ["must count from 0 without gaps"], id="gap"),
        pytest.param(SECOND | {"TEE_WORKER_PIPELINES_1_VERSION": "v5"}, ["versions must differ"], id="same version"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, str], parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        SmsSettings.load(env=PIPELINE | changes)
    for part in parts:
        assert part in caught.value.message


def pipeline_file(folder: Path, text: str) -> Path:
    file = folder / "application.yml"
    file.write_text(f"tee:\n  worker:\n    pipelines:\n      - {text}\n")
    return file


STAGE = "{image: i, fingerprint: f, heap-size: 1GB, entrypoint: e}"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("null", "List elements must not be null"),
        (f"{{pre-compute: {STAGE}, post-compute: {STAGE}}}", "Pipeline version must not be blank"),
        (f"{{version: v5, post-compute: {STAGE}}}", "Pre-compute configuration must not be null"),
        (f"{{version: v5, pre-compute: null, post-compute: {STAGE}}}", "Pre-compute configuration must not be null"),
        (f"{{version: v5, pre-compute: {STAGE}}}", "Post-compute configuration must not be null"),
        *[
            (
                f"{{version: v5, pre-compute: {STAGE.replace(member, '')}, post-compute: {STAGE}}}",
                f"pipelines.0.pre_compute (tee.worker.pipelines): {complaint}",
            )
            for member, complaint in (
                ("image: i, ", "Image must not be blank"),
                ("fingerprint: f, ", "Fingerprint must not be blank"),
                (", entrypoint: e", "Entrypoint must not be blank"),
                ("heap-size: 1GB, ", "Heap size must not be null"),
            )
        ],
    ],
)
def test_what_a_pipeline_lacks_is_said_in_the_official_words(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(InputError) as caught:
        SmsSettings.load(pipeline_file(tmp_path, text), env={})
    assert part in caught.value.message


def test_official_defaults() -> None:
    """Those of section 1.10; ours differ where the official one is a place (node, H2 file, key file, MAA server)."""
    settings = SmsSettings.load(env=PIPELINE)
    assert (settings.framework, settings.port) == (Framework.SCONE, 13300)
    assert (settings.chain_id, settings.block_time_s) == (134, 5)
    assert settings.hub == "0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f"
    assert settings.ipfs_gateway_url == "https://ipfs.iex.ec"
    assert settings.admin_key() is None
    assert settings.admin_storage_location == Path("/backup")
    assert (settings.provisioner_web_port, settings.provisioner_enclave_port) == (8081, 18765)
    assert (settings.tolerated_insecure_options, settings.ignored_sgx_advisories) == ((), ())
    assert settings.challenge_retention_s == parse_duration("P5D")
    assert settings.metrics_refresh_s == 30


def test_no_password_in_a_complaint() -> None:
    with pytest.raises(InputError) as caught:
        SmsSettings.load(env=PIPELINE | {"IEXEC_SMS_H2_URL": "jdbc:mysql://me:canary@db/sms"})
    assert "canary" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("colour = 1", "unknown setting colour"),
        ("server.prot = 1", "unknown setting server.prot"),
        ('server.port = "${PORT:1}"', "placeholders"),
        ("server.port =", "is not valid"),
        ("[tee.worker]\npipelines = 1", "must be a list"),
        ("[tee.worker]\npipelines = []", "Pipeline list must not be empty"),
        ("server.port = 1\nport = 2", "two names of one setting"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, part: str) -> None:
    file = tmp_path / "sms.toml"
    file.write_text(text + "\n")
    with pytest.raises(InputError) as caught:
        SmsSettings.load(file, env={})
    assert part in caught.value.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        SmsSettings.load(tmp_path / "none.toml", env=PIPELINE)
    assert caught.value.code == "settings.file"


def test_pipelines_are_needed() -> None:
    with pytest.raises(InputError) as caught:
        SmsSettings.load(env={})
    assert "pipelines" in caught.value.message


@pytest.mark.parametrize(("text", "size"), [("1", 1), ("10B", 10), ("1kb", 1024), ("3 GB", 3 << 30), (7, 7)])
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT5S", 5), ("P5D", 432_000), ("pt1m30s", 90), ("100ms", 0.1), ("2h", 7200), ("7", 7), (3, 3)],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "P", "PT", "five", "-1", True, None])
def test_no_durations(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
