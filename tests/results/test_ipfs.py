"""The IPFS node and gateway."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest
from tests.results.conftest import Stage

from adyton.base.errors import NotFoundError
from adyton.web.client import AnswerError

HELLO = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"


def test_what_is_added_is_served(stage: Stage, tmp_path: Path) -> None:
    assert stage.ipfs.add(b"hello world\n") == HELLO
    assert stage.ipfs.get(HELLO) == stage.ipfs.get(f"/ipfs/{HELLO}") == b"hello world\n"
    large = bytes(range(256)) * 3000
    (tmp_path / "large").write_bytes(large)
    assert stage.ipfs.get(stage.ipfs.add_file(tmp_path / "large")) == large
    with pytest.raises(NotFoundError):
        stage.ipfs.get("QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH")


def test_add_answers_a_line_for_each_file(stage: Stage) -> None:
    files = [("file", ("one.txt", b"hello world\n")), ("file", ("two", b"2"))]
    answer = httpx2.post(stage.url + "/api/v0/add?stream-channels=true&progress=false", files=files)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["Name"] for line in lines] == ["one.txt", "two"]
    assert lines[0] == {"Name": "one.txt", "Hash": HELLO, "Size": "20"}


@pytest.mark.parametrize("query", ["cid-version=1", "cid-version=1&raw-leaves=true", "raw-leaves=true"])
def test_version_1_on_request(stage: Stage, query: str) -> None:
    answer = httpx2.post(f"{stage.url}/api/v0/add?{query}", files={"file": ("f", b"hello world\n")})
    assert answer.json()["Hash"] == "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"


@pytest.mark.parametrize("query", ["wrap-with-directory=true", "chunker=size-100", "raw-leaves=true&cid-version=0"])
def test_forms_of_adding_that_are_not_offered(stage: Stage, query: str) -> None:
    answer = httpx2.post(f"{stage.url}/api/v0/add?{query}", files={"file": ("f", b"x")})
    assert (answer.status_code, answer.json()["Type"]) == (400, "error")


def test_an_upload_over_the_limit(stage: Stage) -> None:
    with pytest.raises(AnswerError) as caught:
        stage.ipfs.add(bytes(1_000_001))
    assert caught.value.status == 413


def test_a_body_that_is_not_multipart(stage: Stage) -> None:
    assert httpx2.post(stage.url + "/api/v0/add", content=b"x").status_code == 400
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert httpx2.post(stage.url + "/api/v0/add", content=b"junk", headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"PK\x03\x04...", "application/zip"),
        (b"plain text\n", "text/plain; charset=utf-8"),
        ("\u00e9".encode() * 400, "text/plain; charset=utf-8"),
        (b"<html><script>alert(1)</script>", "text/plain; charset=utf-8"),
        (b"\x00\x01\x02", "application/octet-stream"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xfe\xfd", "application/octet-stream"),
    ],
)
def test_content_types(stage: Stage, data: bytes, media_type: str) -> None:
    url = f"{stage.url}/ipfs/{stage.ipfs.add(data)}"
    head, got = httpx2.head(url), httpx2.get(url, headers={"Accept": "application/zip"})
    assert (head.status_code, got.status_code, got.content) == (200, 200, data)
    assert head.headers["content-type"] == got.headers["content-type"] == media_type
    assert head.headers["content-length"] == got.headers["content-length"] == str(len(data))
    assert got.headers["x-content-type-options"] == "nosniff"


def test_caching(stage: Stage) -> None:
    url = f"{stage.url}/ipfs/{stage.ipfs.add(b'x')}"
    etag = httpx2.get(url).headers["etag"]
    assert httpx2.get(url, headers={"If-None-Match": etag}).status_code == 304


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ipfs/nothing", 400),
        ("/ipfs/..%2f..%2fjwt-sign.key", 404),
        ("/ipfs/%2e%2e", 400),
        (f"/ipfs/{HELLO}", 404),
        ("/ipfs/", 404),
    ],
)
def test_names_that_are_not_served(stage: Stage, path: str, status: int) -> None:
    assert httpx2.get(stage.url + path).status_code == status


def test_browsers_of_other_origins_may_read(stage: Stage) -> None:
    headers = {"Origin": "https://shop.example"}
    answer = httpx2.get(f"{stage.url}/ipfs/{stage.ipfs.add(b'x')}", headers=headers)
    assert answer.headers["access-control-allow-origin"] == "*"


def test_the_official_client_s_library_adds(stage: Stage) -> None:
    node, modules = shutil.which("node"), Path(__file__).parents[2] / "node_modules"
    if node is None or not (modules / "kubo-rpc-client").is_dir():
        pytest.skip("needs node and the npm packages: 'make setup' installs them")
    script = """
        import { create } from 'kubo-rpc-client';
        const { cid, size } = await create({ url: process.argv[1] }).add(new Uint8Array(300000));
        const response = await fetch(`${process.argv[1]}/ipfs/${cid}`, { method: 'HEAD' });
        console.log(JSON.stringify([cid.toString(), size, response.ok]));
    """
    done = subprocess.run(
        [node, "--input-type=module", "-e", script, stage.url],
        capture_output=True,
        text=True,
        check=True,
        cwd=modules.parent,
        timeout=60,
    )
    cid, size, served = json.loads(done.stdout)
    assert served
    assert cid == stage.ipfs.add(bytes(300_000))
    assert size > 300_000
