"""Images as layouts: what is written is read back, and damage is found."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adyton.content.errors import ContentError, DigestError, LimitError
from adyton.content.image import LAYER_GZIP_TYPE, LAYER_TYPE, MANIFEST_TYPE
from adyton.content.oci import (
    Blob,
    ImageConfig,
    Layer,
    TarEntry,
    add_layers,
    blob_path,
    build_image,
    deterministic_tar,
    read_image_file,
    read_layout,
    unpack,
    write_archive,
    write_image,
    write_layout,
)

CONFIG = ImageConfig(("/bin/app", "--flag"), ("arg",), ("A=1", "B=2"), "/srv/app", "1000", (("who", "me"),))
LOWER = deterministic_tar([TarEntry("a", content=b"lower"), TarEntry("d", "dir"), TarEntry("d/x", content=b"x")])
UPPER = deterministic_tar([TarEntry("a", content=b"upper"), TarEntry("d/.wh.x")])


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    write_layout(tmp_path / "layout", [LOWER, UPPER], CONFIG, "demo:1")
    return tmp_path / "layout"


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_written_is_read_back(layout: Path, tmp_path: Path) -> None:
    image = read_layout(layout)
    assert image.config == CONFIG
    assert [layer.blob.size for layer in image.layers] == [len(LOWER), len(UPPER)]
    assert read_layout(layout, "demo:1") == image
    assert read_layout(layout, image.digest) == image
    write_archive(layout, tmp_path / "image.tar")
    packed = read_layout(tmp_path / "image.tar")
    assert packed.digest == image.digest
    assert b"".join(packed.layers[1].blob.chunks()) == UPPER


@pytest.mark.parametrize("ref", ["demo:2", "sha256:" + "0" * 64])
def test_an_image_of_another_name_or_digest_is_not_meant(layout: Path, ref: str) -> None:
    with pytest.raises(ContentError) as caught:
        read_layout(layout, ref)
    assert caught.value.code == "content.oci.index"


@pytest.mark.parametrize("annotations", [None, {}, [], "name", {"org.opencontainers.image.ref.name": ""}])
def test_the_only_image_may_be_without_a_name(layout: Path, annotations: object) -> None:
    entry = json.loads((layout / "index.json").read_text())["manifests"][0]
    rewrite(layout / "index.json", manifests=[entry | {"annotations": annotations}])
    assert read_layout(layout, "demo:1") == read_layout(layout)
    with pytest.raises(ContentError):
        read_layout(layout, "sha256:" + "0" * 64)


def test_the_same_input_gives_the_same_digest(layout: Path, tmp_path: Path) -> None:
    (tmp_path / "lower.tar").write_bytes(LOWER)
    again = write_layout(tmp_path / "again", [tmp_path / "lower.tar", UPPER], CONFIG, "other:name")
    assert again == read_layout(layout).digest
    assert again == "sha256:7daea00d9913bab5bd32d39b4868bf4a236beb00d0fb20159c66678f807411e7"


def test_layers_are_added_on_top(layout: Path, tmp_path: Path) -> None:
    more = deterministic_tar([TarEntry("new", content=b"n")])
    image = add_layers(read_layout(layout), [more], replace(CONFIG, cmd=()))
    write_image(image, tmp_path / "more")
    found = read_layout(tmp_path / "more")
    assert found.config == replace(CONFIG, cmd=())
    unpack(found, tmp_path / "root")
    assert (tmp_path / "root/new").read_bytes() == b"n"
    assert (tmp_path / "root/a").read_bytes() == b"upper"
    assert not (tmp_path / "root/d/x").exists()


def test_gzip_layers(tmp_path: Path) -> None:
    packed = gzip.compress(LOWER)
    write_image(build_image([Layer(Blob.of(packed), LAYER_GZIP_TYPE, Blob.of(LOWER).digest)], CONFIG), tmp_path / "gz")
    unpack(read_layout(tmp_path / "gz"), tmp_path / "root")
    assert (tmp_path / "root/a").read_bytes() == b"lower"
    wrong = Layer(Blob.of(packed), LAYER_GZIP_TYPE, Blob.of(UPPER).digest)
    with pytest.raises(DigestError):
        unpack(build_image([wrong], CONFIG), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_reading_one_file(layout: Path) -> None:
    image = read_layout(layout)
    assert read_image_file(image, "/a") == b"upper"
    assert read_image_file(image, "d/x") is None  # whited out
    assert read_image_file(image, "nothing") is None
    with pytest.raises(LimitError):
        read_image_file(image, "a", limit=3)


def test_a_hidden_folder_hides_its_files() -> None:
    opaque = deterministic_tar([TarEntry("d/.wh..wh..opq"), TarEntry("d/y", content=b"y")])
    image = build_image([LOWER, opaque], CONFIG)
    assert (read_image_file(image, "d/x"), read_image_file(image, "d/y")) == (None, b"y")
    replaced = build_image([LOWER, deterministic_tar([TarEntry("d", content=b"now a file")])], CONFIG)
    assert read_image_file(replaced, "d/x") is None


def test_a_changed_blob_is_found(layout: Path, tmp_path: Path) -> None:
    image = read_layout(layout)
    path = blob_path(layout, image.layers[0].blob.digest)
    path.write_bytes(path.read_bytes().replace(b"lower", b"LOWER"))
    with pytest.raises(DigestError):
        unpack(image, tmp_path / "root")
    assert not (tmp_path / "root").exists()
    with pytest.raises(DigestError):
        write_image(image, tmp_path / "copy")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ContentError, match="bytes, not"):
        read_layout(layout)


def test_a_changed_manifest_is_found(layout: Path) -> None:
    path = blob_path(layout, read_layout(layout).digest)
    path.write_bytes(path.read_bytes().replace(b'"schemaVersion":2', b'"schemaVersion":3'))
    with pytest.raises(DigestError):
        read_layout(layout)


def test_the_image_for_this_platform_is_chosen(layout: Path) -> None:
    index = json.loads((layout / "index.json").read_text())
    other = index["manifests"][0] | {"platform": {"os": "linux", "architecture": "arm64"}, "annotations": {}}
    rewrite(layout / "index.json", manifests=[other, *index["manifests"]])
    assert read_layout(layout).config == CONFIG
    rewrite(layout / "index.json", manifests=[other])
    with pytest.raises(ContentError, match="linux/amd64"):
        read_layout(layout)
    rewrite(layout / "index.json", manifests=index["manifests"] * 2)
    with pytest.raises(ContentError, match="2 manifests"):
        read_layout(layout)


def test_what_is_no_layout(tmp_path: Path, layout: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no archive")
    for path in (tmp_path / "empty", tmp_path / "text", tmp_path / "absent"):
        with pytest.raises(ContentError):
            read_layout(path)
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    with pytest.raises(ContentError, match=r"version 1\.0\.0"):
        read_layout(layout)


def manifest(**changes: object) -> dict[str, Any]:
    config = Blob.of(b'{"rootfs":{"type":"layers","diff_ids":["sha256:' + b"0" * 64 + b'"]}}')
    layer = Blob.of(LOWER)
    return {
        "schemaVersion": 2,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config.digest,
            "size": config.size,
        },
        "layers": [{"mediaType": LAYER_TYPE, "digest": layer.digest, "size": layer.size}],
    } | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 1},
        {"layers": {}},
        {"layers": []},
        {
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": "sha256:" + "0" * 64, "size": 1}
            ]
        },
        {"layers": [{"mediaType": LAYER_TYPE, "digest": "sha256:" + "0" * 64, "size": -1}]},
        {"layers": [{"mediaType": LAYER_TYPE, "digest": "sha512:" + "0" * 128, "size": 1}]},
        {"layers": [{"mediaType": LAYER_TYPE, "digest": "sha256:../../../etc/passwd", "size": 1}]},
        {"layers": [1]},
        {"config": None},
        {"config": {"mediaType": "application/json", "digest": "sha256:" + "0" * 64, "size": 2}},
    ],
)
def test_manifests_that_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = tmp_path / "layout"
    write_layout(folder, [LOWER], CONFIG)
    config = b'{"rootfs":{"type":"layers","diff_ids":["sha256:' + b"0" * 64 + b'"]}}'
    data = json.dumps(manifest(**changes)).encode()
    for blob in (config, data):
        blob_path(folder, Blob.of(blob).digest).write_bytes(blob)
    entry = {"mediaType": MANIFEST_TYPE, "digest": Blob.of(data).digest, "size": len(data)}
    rewrite(folder / "index.json", manifests=[entry])
    with pytest.raises(ContentError):
        read_layout(folder)


def test_a_layer_listed_under_another_digest_is_refused(tmp_path: Path) -> None:
    layer = Layer(Blob.of(LOWER), LAYER_TYPE, Blob.of(UPPER).digest)
    with pytest.raises(ContentError, match="is listed as"):
        unpack(build_image([layer], CONFIG), tmp_path / "root")
