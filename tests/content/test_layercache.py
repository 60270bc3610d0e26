"""Kept layers: what comes out of them is what the archive says, judged like an archive, shared and never written to."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.content.test_unpack import ESCAPES, Member, folder, hardlink, image, member, symlink

from adyton.content.errors import ContentError, DigestError, EscapeError, LimitError
from adyton.content.oci import Image, LayerCache, UnpackLimits, unpack

TREE = [
    folder("bin", 0o750),
    member("bin/tool", b"#!", mode=0o755),
    member("bin/data", b"x" * 300_000),
    symlink("link", "bin/tool"),
    hardlink("same", "bin/data"),
]
UPPER = [member("bin/tool", b"new"), member("bin/.wh.data"), member("added", b"")]


@pytest.fixture
def cache(tmp_path: Path) -> LayerCache:
    return LayerCache(tmp_path / "layers", min_bytes=0)


def described(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        what: object = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
        times = int(status.st_mtime) if path.is_file() and not path.is_symlink() else 0
        found[str(path.relative_to(root))] = (what, status.st_mode, times)
    return found


def test_an_image_from_kept_layers_is_the_image(cache: LayerCache, tmp_path: Path) -> None:
    wanted = image(TREE, UPPER)
    unpack(wanted, tmp_path / "plain")
    for name in ("first", "second"):
        unpack(wanted, tmp_path / name, cache=cache)
        assert described(tmp_path / name) == described(tmp_path / "plain")
    assert (tmp_path / "first/added").stat().st_ino == (tmp_path / "second/added").stat().st_ino


def test_upper_layers_never_write_into_shared_files(cache: LayerCache, tmp_path: Path) -> None:
    unpack(image(TREE), tmp_path / "lower", cache=cache)
    before = described(tmp_path / "lower")
    unpack(image(TREE, UPPER, [folder("bin", 0o700), member("link", b"file now")]), tmp_path / "upper", cache=cache)
    assert described(tmp_path / "lower") == before


def test_a_kept_layer_needs_its_archive_no_more(cache: LayerCache, tmp_path: Path) -> None:
    wanted = image(TREE)
    unpack(wanted, tmp_path / "first", cache=cache)
    layer = wanted.layers[0]
    gone = replace(wanted, layers=(replace(layer, blob=replace(layer.blob, source=tmp_path / "gone")),))
    unpack(gone, tmp_path / "second", cache=cache)
    cache.forget(layer)
    with pytest.raises(ContentError):
        unpack(gone, tmp_path / "third", cache=cache)
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize("members", ESCAPES.values(), ids=ESCAPES.keys())
def test_kept_layers_are_judged_like_archives(cache: LayerCache, members: list[Member], tmp_path: Path) -> None:
    for name in ("first", "second"):
        with pytest.raises(EscapeError):
            unpack(image(members), tmp_path / name, cache=cache)
        assert not (tmp_path / name).exists()


def test_limits_count_what_is_kept_like_what_is_read(cache: LayerCache, tmp_path: Path) -> None:
    unpack(image(TREE), tmp_path / "kept", cache=cache)
    for limits in (UnpackLimits(entries=4), UnpackLimits(total_bytes=1000), UnpackLimits(name_bytes=3)):
        with pytest.raises(LimitError):
            unpack(image(TREE), tmp_path / "limited", limits, cache=cache)


def test_a_layer_that_is_not_the_named_bytes_is_not_kept(cache: LayerCache, tmp_path: Path) -> None:
    wanted = image(TREE)
    layer = wanted.layers[0]
    assert isinstance(layer.blob.source, bytes)
    other = replace(layer.blob, source=layer.blob.source[:-1] + b"x")
    with pytest.raises(DigestError):
        unpack(replace(wanted, layers=(replace(layer, blob=other),)), tmp_path / "out", cache=cache)
    assert list((tmp_path / "layers").iterdir()) == []


def test_an_archive_under_another_ones_digest_is_not_served(cache: LayerCache, tmp_path: Path) -> None:
    first, second = image(TREE), image(UPPER)
    unpack(first, tmp_path / "first", cache=cache)
    mixed: Image = replace(second, layers=(replace(second.layers[0], diff_id=first.layers[0].diff_id),))
    with pytest.raises(ContentError) as caught:
        unpack(mixed, tmp_path / "mixed", cache=cache)
    assert caught.value.code == "content.oci.diff_id"


def test_a_kept_layer_that_lost_a_file_is_damaged(cache: LayerCache, tmp_path: Path) -> None:
    unpack(image(TREE), tmp_path / "first", cache=cache)
    next((tmp_path / "layers").glob("*/1")).unlink()
    with pytest.raises(ContentError) as caught:
        unpack(image(TREE), tmp_path / "second", cache=cache)
    assert caught.value.code == "content.layercache.damaged"


def test_layers_unused_for_longest_go_first(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path / "layers", kept=2, min_bytes=0)
    images = [image([member(name, name.encode())]) for name in "abc"]
    for number, each in enumerate((images[0], images[1], images[0], images[2])):
        unpack(each, tmp_path / str(number), cache=cache)
        for age, path in enumerate(sorted((tmp_path / "layers").iterdir(), key=lambda p: p.stat().st_mtime_ns)):
            os.utime(path, (age, age))
    assert len(list((tmp_path / "layers").iterdir())) == 2
    assert sorted(path.read_bytes() for path in (tmp_path / "layers").glob("*/0")) == [b"a", b"c"]
