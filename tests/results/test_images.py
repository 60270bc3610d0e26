"""The image registry, with our client and by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from fastapi.testclient import TestClient
from tests.results.conftest import Stage, WrittenChain

from adyton.base.errors import InputError
from adyton.base.types import ZERO_ADDRESS
from adyton.content.blob import sha256_digest
from adyton.content.errors import DigestError, LimitError
from adyton.content.image import CONFIG_TYPE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE
from adyton.content.oci import ImageConfig, TarEntry, blob_path, deterministic_tar, read_layout, unpack, write_layout
from adyton.content.reference import ImageReference
from adyton.content.registry import ImageNotFoundError, RegistryClient
from adyton.results.api import build_app
from adyton.results.settings import ResultsSettings

DATA = b"layer bytes"
DIGEST = sha256_digest(DATA)


@pytest.fixture
def registry() -> Iterator[RegistryClient]:
    client = RegistryClient()
    yield client
    client.close()


def named(stage: Stage, name: str = "demo/app:1.0.0") -> ImageReference:
    return ImageReference.parse(f"{stage.url.removeprefix('http://')}/{name}")


def make_layout(folder: Path, content: bytes = b"x" * 100_000) -> str:
    return write_layout(folder, [deterministic_tar([TarEntry("file", content=content)])], ImageConfig(cmd=("run",)))


def test_what_is_pushed_is_pulled(stage: Stage, registry: RegistryClient, tmp_path: Path) -> None:
    digest = make_layout(tmp_path / "layout")
    reference = named(stage)
    assert registry.push(tmp_path / "layout", reference) == digest
    assert registry.push(tmp_path / "layout", reference) == digest  # again: nothing is uploaded
    assert registry.resolve(reference) == digest
    assert registry.pull(reference, tmp_path / "pulled") == digest
    assert registry.pull(replace(reference, digest=digest), tmp_path / "pulled") == digest
    unpack(read_layout(tmp_path / "pulled"), tmp_path / "root")
    assert (tmp_path / "root/file").read_bytes() == b"x" * 100_000
    assert httpx2.get(f"{stage.url}/v2/demo/app/tags/list").json() == {"name": "demo/app", "tags": ["1.0.0"]}


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
def test_blobs_that_are_kept_elsewhere_are_shared_when_whole(
    stage: Stage, registry: RegistryClient, tmp_path: Path, *, damaged: bool
) -> None:
    make_layout(tmp_path / "layout")
    registry.push(tmp_path / "layout", named(stage))
    registry.pull(named(stage), tmp_path / "here")
    layer = read_layout(tmp_path / "here").layers[0].blob
    kept = blob_path(tmp_path / "here", layer.digest)
    if damaged:
        kept.write_bytes(b"y" * layer.size)
    digest = registry.pull(named(stage), tmp_path / "pulled", lambda digest: kept if digest == layer.digest else None)
    assert digest == read_layout(tmp_path / "layout").digest
    unpack(read_layout(tmp_path / "pulled"), tmp_path / "root")
    assert (tmp_path / "root/file").read_bytes() == b"x" * 100_000
    shared = blob_path(tmp_path / "pulled", layer.digest).stat().st_ino == kept.stat().st_ino
    assert shared is not damaged


def test_a_tag_moves_and_the_old_digest_stays(stage: Stage, registry: RegistryClient, tmp_path: Path) -> None:
    old, new = make_layout(tmp_path / "old", b"old"), make_layout(tmp_path / "new", b"new")
    reference = named(stage)
    registry.push(tmp_path / "old", reference)
    registry.push(tmp_path / "new", reference)
    assert registry.resolve(reference) == new
    assert registry.pull(replace(reference, tag="", digest=old), tmp_path / "pulled") == old


def test_a_damaged_download_is_replaced(stage: Stage, registry: RegistryClient, tmp_path: Path) -> None:
    make_layout(tmp_path / "layout")
    registry.push(tmp_path / "layout", named(stage))
    registry.pull(named(stage), tmp_path / "pulled")
    layer = read_layout(tmp_path / "pulled").layers[0].blob
    path = blob_path(tmp_path / "pulled", layer.digest)
    path.write_bytes(b"y" * layer.size)
    registry.pull(named(stage), tmp_path / "pulled")
    unpack(read_layout(tmp_path / "pulled"), tmp_path / "root")


def test_a_registry_that_lies_is_found_out(stage: Stage, registry: RegistryClient, tmp_path: Path) -> None:
    make_layout(tmp_path / "layout")
    registry.push(tmp_path / "layout", named(stage))
    stored = next(
        path for path in (tmp_path / "data/images/blobs").rglob("*") if path.is_file() and path.stat().st_size > 50_000
    )
    stored.write_bytes(b"z" * stored.stat().st_size)
    with pytest.raises(DigestError):
        registry.pull(named(stage), tmp_path / "pulled")
    assert not list((tmp_path / "pulled").rglob("*.partial"))


def test_images_that_cannot_be_had(stage: Stage, registry: RegistryClient, tmp_path: Path) -> None:
    with pytest.raises(ImageNotFoundError):
        registry.pull(named(stage, "demo/none:1"), tmp_path / "pulled")
    make_layout(tmp_path / "layout")
    registry.push(tmp_path / "layout", named(stage))
    small = RegistryClient(max_image_bytes=1000)
    with pytest.raises(LimitError):
        small.pull(named(stage), tmp_path / "pulled")
    small.close()
    with pytest.raises(InputError):
        registry.push(tmp_path / "layout", replace(named(stage), digest=DIGEST))


def test_an_index_is_followed(stage: Stage, registry: RegistryClient, tmp_path: Path) -> None:
    digest = make_layout(tmp_path / "layout")
    registry.push(tmp_path / "layout", named(stage))
    size = blob_path(tmp_path / "layout", digest).stat().st_size
    entry = {"mediaType": MANIFEST_TYPE, "digest": digest, "size": size}
    platform = {"os": "linux", "architecture": "amd64"}
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry | {"platform": platform}]}
    ).encode()
    url = f"{stage.url}/v2/demo/app/manifests/multi"
    assert httpx2.put(url, content=index, headers={"content-type": INDEX_TYPE}).status_code == 201
    by_digest = replace(named(stage, "demo/app:multi"), digest=sha256_digest(index))
    assert registry.pull(by_digest, tmp_path / "pulled") == digest


def start(stage: Stage, query: str = "") -> httpx2.Response:
    return httpx2.post(f"{stage.url}/v2/demo/app/blobs/uploads/{query}")


def test_an_upload_in_parts(stage: Stage) -> None:
    location = stage.url + start(stage).headers["location"]
    first = httpx2.patch(location, content=DATA[:5], headers={"content-range": "0-4"})
    assert (first.status_code, first.headers["range"]) == (202, "0-4")
    assert httpx2.patch(location, content=DATA[5:], headers={"content-range": "3-8"}).status_code == 416
    assert httpx2.get(location).headers["range"] == "0-4"
    done = httpx2.put(f"{location}?digest={DIGEST}", content=DATA[5:])
    assert (done.status_code, done.headers["docker-content-digest"]) == (201, DIGEST)
    blob = httpx2.get(stage.url + done.headers["location"])
    assert blob.content == DATA
    assert httpx2.head(stage.url + done.headers["location"]).headers["content-length"] == str(len(DATA))
    assert httpx2.get(location).status_code == 404


def test_an_upload_in_one_request(stage: Stage) -> None:
    answer = httpx2.post(f"{stage.url}/v2/demo/app/blobs/uploads/?digest={DIGEST}", content=DATA)
    assert answer.status_code == 201
    assert httpx2.get(f"{stage.url}/v2/other/name/blobs/{DIGEST}").content == DATA


def test_uploads_that_are_refused(stage: Stage) -> None:
    def code(answer: httpx2.Response) -> tuple[int, str]:
        return answer.status_code, answer.json()["errors"][0]["code"]

    wrong = httpx2.post(f"{stage.url}/v2/demo/app/blobs/uploads/?digest={DIGEST}", content=b"other")
    assert code(wrong) == (400, "DIGEST_INVALID")
    assert code(httpx2.get(f"{stage.url}/v2/demo/app/blobs/{DIGEST}")) == (404, "BLOB_UNKNOWN")
    assert code(httpx2.get(f"{stage.url}/v2/demo/app/blobs/sha256:12")) == (400, "DIGEST_INVALID")
    assert code(start(stage, "?digest=md5:1")) == (400, "DIGEST_INVALID")
    assert code(httpx2.post(f"{stage.url}/v2/Demo/blobs/uploads/")) == (400, "NAME_INVALID")
    assert (
        code(httpx2.patch(f"{stage.url}/v2/demo/app/blobs/uploads/{'0' * 32}", content=b"x"))[1]
        == "BLOB_UPLOAD_UNKNOWN"
    )
    assert httpx2.get(f"{stage.url}/v2/demo/app/blobs/uploads/..%2Fx").status_code == 404
    too_large = httpx2.post(f"{stage.url}/v2/demo/app/blobs/uploads/?digest={DIGEST}", content=bytes(1_000_001))
    assert code(too_large) == (413, "SIZE_INVALID")
    location = stage.url + start(stage).headers["location"]
    assert httpx2.patch(location, content=bytes(600_000)).status_code == 202
    assert code(httpx2.patch(location, content=bytes(600_000))) == (413, "SIZE_INVALID")
    assert httpx2.delete(location).status_code == 204


@pytest.mark.parametrize(
    ("body", "media_type", "reference", "code"),
    [
        (b"no json", MANIFEST_TYPE, "1", "MANIFEST_INVALID"),
        (b"{}", MANIFEST_TYPE, "1", "MANIFEST_INVALID"),
        (b'{"layers":[],"config":{}}', MANIFEST_TYPE, "1", "MANIFEST_INVALID"),
        (b'{"layers":[]}', "text/html", "1", "MANIFEST_INVALID"),
        (b'{"manifests":[]}', MANIFEST_TYPE, "1", "MANIFEST_INVALID"),
        (b"{}", MANIFEST_TYPE, DIGEST, "DIGEST_INVALID"),
        (b"{}", MANIFEST_TYPE, "bad tag!", "TAG_INVALID"),
        (
            json.dumps(
                {
                    "config": {"mediaType": CONFIG_TYPE, "digest": DIGEST, "size": 3},
                    "layers": [{"mediaType": LAYER_TYPE, "digest": DIGEST, "size": 3}],
                }
            ).encode(),
            MANIFEST_TYPE,
            "1",
            "MANIFEST_BLOB_UNKNOWN",
        ),
    ],
)
def test_manifests_that_are_refused(stage: Stage, body: bytes, media_type: str, reference: str, code: str) -> None:
    url = f"{stage.url}/v2/demo/app/manifests/{reference}"
    answer = httpx2.put(url, content=body, headers={"content-type": media_type})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, code)


def test_other_machines_may_pull_and_not_push(tmp_path: Path) -> None:
    settings = ResultsSettings(data=tmp_path / "data", rpc_url="http://127.0.0.1:1", hub=ZERO_ADDRESS)
    with TestClient(build_app(settings, WrittenChain()), client=("192.0.2.1", 1)) as remote:
        assert remote.get("/v2/").status_code == 200
        refused = remote.post(f"/v2/demo/app/blobs/uploads/?digest={DIGEST}", content=DATA)
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "DENIED")
    open_to_all = settings.model_copy(update={"allow_remote_push": True})
    with TestClient(build_app(open_to_all, WrittenChain()), client=("192.0.2.1", 1)) as remote:
        assert remote.post(f"/v2/demo/app/blobs/uploads/?digest={DIGEST}", content=DATA).status_code == 201
        assert remote.get(f"/v2/demo/app/blobs/{DIGEST}").content == DATA
