"""The stage programs as processes of their own, against real HTTP servers (SMS reference 6, 7, 10.2)."""

from __future__ import annotations

import base64
import io
import json
import os
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests import forks

from adyton.base.secret import Secret
from adyton.base.types import Bytes32, word_bytes
from adyton.chain.hashing import contribution_message
from adyton.chain.wallet import Wallet, recover_personal
from adyton.compute.download import input_file_name
from adyton.compute.encryption import dataset_checksum, decrypt_result, encrypt_dataset, new_dataset_key
from adyton.compute.wire import stage_message

TASK = Bytes32("0x" + "11" * 32)
WORKER = Wallet.create().address
CHALLENGE = Wallet.create()
DATASET = "0x" + "ab" * 20
PLAIN = b"Some very useful data."


@dataclass
class Site:
    """Serves files, takes reports and results, and remembers them."""

    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    posts: list[tuple[str, str, bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def only(self, suffix: str) -> bytes:
        (found,) = [(path, auth, body) for path, auth, body in self.posts if path.endswith(suffix)]
        return found[2]


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = state.files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.posts.append((self.path, self.headers["Authorization"], body))
            self.send_response(state.answers.get(self.path.rsplit("/", 1)[1], 200))
            self.end_headers()
            self.wfile.write(b"/ipfs/Qm")

        def log_message(self, *_args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


def environment(site: Site, **variables: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "IEXEC_TASK_ID": TASK,
        "SIGN_WORKER_ADDRESS": WORKER,
        "SIGN_TEE_CHALLENGE_PRIVATE_KEY": "0x" + CHALLENGE.private_key().reveal().hex(),
        "WORKER_HOST": f"127.0.0.1:{site.port}",
        **variables,
    }


def run(module: str, variables: dict[str, str], *args: str) -> tuple[int, str]:
    with tempfile.NamedTemporaryFile() as errors:
        status = forks.run(f"adyton.compute.{module}", variables, args, Path(errors.name))
        return status, errors.read().decode()


def pre_environment(site: Site, out: Path, **variables: str) -> dict[str, str]:
    base = {"IEXEC_PRE_COMPUTE_OUT": str(out), "IS_DATASET_REQUIRED": "false", "IEXEC_INPUT_FILES_NUMBER": "0"}
    return environment(site, **(base | variables))


def dataset(site: Site, key: Secret[str], prefix: str = "IEXEC_DATASET_", name: str = DATASET) -> dict[str, str]:
    encrypted = encrypt_dataset(PLAIN, key)
    site.files[f"/ipfs/{name}"] = encrypted
    return {
        f"{prefix}URL": f"/p2p/{name}",
        f"{prefix}CHECKSUM": dataset_checksum(encrypted),
        f"{prefix}KEY": key.reveal(),
        f"{prefix}FILENAME": name,
        "ADYTON_IPFS_GATEWAY": site.url,
    }


def test_pre_fetches_dataset_bulk_and_inputs(site: Site, tmp_path: Path) -> None:
    site.files["/file1"] = b"input"
    variables = pre_environment(
        site,
        tmp_path,
        **(dataset(site, new_dataset_key()) | dataset(site, new_dataset_key(), "IEXEC_DATASET_1_", "0x" + "cd" * 20)),
        IS_DATASET_REQUIRED="TRUE",
        IEXEC_BULK_SLICE_SIZE="1",
        IEXEC_INPUT_FILES_NUMBER="1",
        IEXEC_INPUT_FILE_URL_1=f"{site.url}/file1",
    )
    code, log = run("pre", variables)
    assert code == 0, log
    assert (tmp_path / DATASET).read_bytes() == PLAIN
    assert (tmp_path / ("0x" + "cd" * 20)).read_bytes() == PLAIN
    assert (tmp_path / input_file_name(f"{site.url}/file1")).read_bytes() == b"input"
    assert site.posts == []


def test_pre_accumulates_causes_and_goes_on(site: Site, tmp_path: Path) -> None:
    site.files["/good"] = b"good"
    key = new_dataset_key()
    variables = pre_environment(
        site,
        tmp_path,
        **dataset(site, key),
        IS_DATASET_REQUIRED="true",
        IEXEC_BULK_SLICE_SIZE="1",
        IEXEC_INPUT_FILES_NUMBER="3",
        IEXEC_INPUT_FILE_URL_1=f"{site.url}/missing",
        IEXEC_INPUT_FILE_URL_3=f"{site.url}/good",
    )
    variables["IEXEC_DATASET_KEY"] = new_dataset_key().reveal()
    code, log = run("pre", variables)
    assert code == 1
    path, authorization, body = site.posts[0]
    assert path == f"/compute/pre/{TASK}/exit-causes"
    assert recover_personal(word_bytes(stage_message(TASK, WORKER)), authorization) == CHALLENGE.address
    assert [each["cause"] for each in json.loads(body)] == [
        "PRE_COMPUTE_DATASET_FILENAME_MISSING",
        "PRE_COMPUTE_AT_LEAST_ONE_INPUT_FILE_URL_MISSING",
        "PRE_COMPUTE_DATASET_DECRYPTION_FAILED",
        "PRE_COMPUTE_INPUT_FILE_DOWNLOAD_FAILED",
    ]
    assert json.loads(body)[2]["message"] == f"Failed to decrypt dataset {DATASET}"
    assert (tmp_path / input_file_name(f"{site.url}/good")).read_bytes() == b"good"
    for secret in (key.reveal(), variables["IEXEC_DATASET_KEY"], variables["SIGN_TEE_CHALLENGE_PRIVATE_KEY"][2:]):
        assert secret not in log


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"IEXEC_PRE_COMPUTE_OUT": ""}, "OUTPUT_PATH_MISSING"),
        ({"IEXEC_PRE_COMPUTE_OUT": "/nowhere/at/all"}, "OUTPUT_FOLDER_NOT_FOUND"),
        ({"IS_DATASET_REQUIRED": ""}, "IS_DATASET_REQUIRED_MISSING"),
        ({"IEXEC_INPUT_FILES_NUMBER": "x"}, "INPUT_FILES_NUMBER_MISSING"),
        ({"IEXEC_BULK_SLICE_SIZE": "many"}, "FAILED_UNKNOWN_ISSUE"),
        ({"IEXEC_DATASET_URL": ""}, "DATASET_URL_MISSING"),
        ({"IEXEC_DATASET_KEY": ""}, "DATASET_KEY_MISSING"),
        ({"IEXEC_DATASET_CHECKSUM": ""}, "DATASET_CHECKSUM_MISSING"),
        ({"IEXEC_DATASET_CHECKSUM": "0x" + "00" * 32}, "INVALID_DATASET_CHECKSUM"),
        ({"IEXEC_DATASET_URL": "/ipfs/none"}, "DATASET_DOWNLOAD_FAILED"),
        ({"IEXEC_DATASET_URL": "file:///etc/passwd"}, "DATASET_DOWNLOAD_FAILED"),
        ({"ADYTON_IPFS_GATEWAY": ""}, "DATASET_DOWNLOAD_FAILED"),
        ({"IEXEC_DATASET_FILENAME": "../x"}, "SAVING_PLAIN_DATASET_FAILED"),
    ],
)
def test_pre_reports_each_cause(site: Site, tmp_path: Path, change: dict[str, str], cause: str) -> None:
    variables = pre_environment(site, tmp_path, **dataset(site, new_dataset_key()), IS_DATASET_REQUIRED="true")
    code, _ = run("pre", variables | change)
    assert code == 1
    assert [each["cause"] for each in json.loads(site.only("exit-causes"))] == ["PRE_COMPUTE_" + cause]


@pytest.mark.parametrize("module", ["pre", "post"])
def test_exit_codes_without_report(site: Site, tmp_path: Path, module: str) -> None:
    variables = pre_environment(site, tmp_path / "none", RESULT_STORAGE_CALLBACK="false")
    args = () if module == "pre" else ("--results", str(tmp_path), "--scratch", str(tmp_path))
    assert run(module, variables | {"IEXEC_TASK_ID": ""}, *args)[0] == 3
    assert run(module, variables | {"SIGN_WORKER_ADDRESS": ""}, *args)[0] == 2
    assert run(module, variables | {"SIGN_TEE_CHALLENGE_PRIVATE_KEY": "0x12"}, *args)[0] == 2
    site.answers["exit-causes"] = 404
    assert run(module, variables, *args)[0] == 2
    site.answers["exit-causes"] = 208
    assert run(module, variables, *args)[0] == 1


@dataclass
class Results:
    """A results folder and a scratch folder."""

    folder: Path
    scratch: Path

    @property
    def args(self) -> tuple[str, ...]:
        return ("--results", str(self.folder), "--scratch", str(self.scratch))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    found = Results(tmp_path / "out", tmp_path / "tmp")
    found.folder.mkdir()
    found.scratch.mkdir()
    (found.folder / "result.txt").write_bytes(b"Hello\n")
    (found.folder / "computed.json").write_text('{"deterministic-output-path":"/iexec_out/result.txt"}')
    return found


def post_environment(site: Site, **variables: str) -> dict[str, str]:
    base = {
        "RESULT_STORAGE_CALLBACK": "false",
        "RESULT_ENCRYPTION": "false",
        "RESULT_ENCRYPTION_PUBLIC_KEY": "",
        "RESULT_STORAGE_PROVIDER": "ipfs",
        "RESULT_STORAGE_PROXY": site.url,
        "RESULT_STORAGE_TOKEN": "the-token",
    }
    return environment(site, **(base | variables))


def test_post_signs_uploads_and_reports(site: Site, results: Results) -> None:
    code, log = run("post", post_environment(site), *results.args)
    assert code == 0, log
    model = json.loads(site.only("/v1/results"))
    assert site.posts[0][1] == "the-token"
    digest = Bytes32("0x66a045b452102c59d840ec097d59d9467e13a3f34f6494e539ffd32c1bb35f18")
    assert model["chainTaskId"] == TASK
    assert model["deterministHash"] == digest
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(model["zip"]))) as bundle:
        assert bundle.namelist() == ["computed.json", "result.txt"]
    computed = json.loads(site.only("/computed"))
    assert computed["task-id"] == TASK
    assert computed["result-digest"] == digest
    message = contribution_message(TASK, WORKER, digest)
    assert recover_personal(word_bytes(message), computed["enclave-signature"]) == CHALLENGE.address
    assert model["enclaveSignature"] == computed["enclave-signature"]
    assert list(results.scratch.iterdir()) == []
    assert "the-token" not in log


def test_post_encrypts_for_the_beneficiary(site: Site, results: Results) -> None:
    key = rsa.generate_private_key(65537, 2048)
    encoding = serialization.Encoding.PEM
    public = key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    variables = post_environment(
        site, RESULT_ENCRYPTION="True", RESULT_ENCRYPTION_PUBLIC_KEY=base64.b64encode(public).decode()
    )
    code, log = run("post", variables, *results.args)
    assert code == 0, log
    uploaded = base64.b64decode(json.loads(site.only("/v1/results"))["zip"])
    with zipfile.ZipFile(io.BytesIO(decrypt_result(uploaded, Secret(private)))) as bundle:
        assert bundle.read("result.txt") == b"Hello\n"
    assert list(results.scratch.iterdir()) == []


def test_post_callback_uploads_nothing(site: Site, results: Results) -> None:
    data = "0x" + "00" * 31 + "01"
    (results.folder / "computed.json").write_text(json.dumps({"callback-data": data}))
    variables = post_environment(site, RESULT_STORAGE_CALLBACK="true", RESULT_STORAGE_TOKEN="", RESULT_STORAGE_PROXY="")
    assert run("post", variables, *results.args)[0] == 0
    computed = json.loads(site.only("/computed"))
    assert computed["callback-data"] == data
    assert computed["result-digest"] == "0xb10e2d527612073b26eecdfd717e6a320cf44b4afac2b0732d9fcbe2b7fa0cf6"
    assert len(site.posts) == 1


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"RESULT_STORAGE_CALLBACK": ""}, "FAILED_UNKNOWN_ISSUE"),
        ({"RESULT_STORAGE_CALLBACK": "true"}, "RESULT_DIGEST_COMPUTATION_FAILED"),
        ({"RESULT_ENCRYPTION": "yes please"}, "FAILED_UNKNOWN_ISSUE"),
        ({"RESULT_ENCRYPTION": "true"}, "ENCRYPTION_PUBLIC_KEY_MISSING"),
        ({"RESULT_ENCRYPTION": "true", "RESULT_ENCRYPTION_PUBLIC_KEY": "%"}, "MALFORMED_ENCRYPTION_PUBLIC_KEY"),
        ({"RESULT_ENCRYPTION": "true", "RESULT_ENCRYPTION_PUBLIC_KEY": "eHh4"}, "ENCRYPTION_FAILED"),
        ({"RESULT_STORAGE_TOKEN": ""}, "STORAGE_TOKEN_MISSING"),
        ({"RESULT_STORAGE_PROXY": ""}, "FAILED_UNKNOWN_ISSUE"),
        ({"RESULT_STORAGE_PROXY": "http://127.0.0.1:9"}, "IPFS_UPLOAD_FAILED"),
    ],
)
def test_post_reports_each_cause(site: Site, results: Results, change: dict[str, str], cause: str) -> None:
    code, _ = run("post", post_environment(site, **change), *results.args)
    assert code == 1
    assert [each["cause"] for each in json.loads(site.only("exit-causes"))] == ["POST_COMPUTE_" + cause]
    assert list(results.scratch.iterdir()) == []


def test_post_refuses_broken_results(site: Site, results: Results) -> None:
    (results.folder / ("x" * 32)).write_text("")
    run("post", post_environment(site), *results.args)
    (results.folder / "computed.json").unlink()
    run("post", post_environment(site), *results.args)
    causes = [json.loads(body)[0]["cause"] for path, _, body in site.posts if path.endswith("exit-causes")]
    assert causes == ["POST_COMPUTE_TOO_LONG_RESULT_FILE_NAME", "POST_COMPUTE_COMPUTED_FILE_NOT_FOUND"]


def test_post_reports_that_the_worker_refuses_the_result(site: Site, results: Results) -> None:
    site.answers["computed"] = 401
    assert run("post", post_environment(site), *results.args)[0] == 1
    assert json.loads(site.only("exit-causes"))[0]["cause"] == "POST_COMPUTE_SEND_COMPUTED_FILE_FAILED"
