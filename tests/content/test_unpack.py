"""Hostile layers: nothing leaves the destination, and limits hold."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from adyton.content.errors import ContentError, EscapeError, LimitError
from adyton.content.oci import Image, ImageConfig, UnpackLimits, build_image, unpack

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode, info.mtime = kind, link, len(data), mode, 1_000_000_000
    return info, data


def symlink(name: str, target: str) -> Member:
    return member(name, kind=tarfile.SYMTYPE, link=target)


def hardlink(name: str, target: str) -> Member:
    return member(name, kind=tarfile.LNKTYPE, link=target)


def folder(name: str, mode: int = 0o755) -> Member:
    return member(name, kind=tarfile.DIRTYPE, mode=mode)


def image(*layers: list[Member], form: int = tarfile.PAX_FORMAT) -> Image:
    archives = []
    for members in layers:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
            for info, data in members:
                archive.addfile(info, io.BytesIO(data))
        archives.append(stream.getvalue())
    return build_image(archives, ImageConfig())


ESCAPES = {
    "parent folder": [member("../evil")],
    "parent folder inside": [member("a/../../evil")],
    "absolute": [member("/evil")],
    "through a link out": [symlink("out", "../.."), member("out/evil")],
    "through links out": [symlink("a", "b/.."), symlink("b", ".."), member("a/evil")],
    "through a loop": [symlink("a", "b"), symlink("b", "a"), member("a/evil")],
    "hard link to outside": [hardlink("evil", "../secret")],
    "hard link to absolute": [hardlink("evil", "/etc/passwd")],
    "hard link through a link out": [symlink("out", "../.."), hardlink("evil", "out/secret")],
    "hard link to nothing": [hardlink("evil", "absent")],
    "hard link to itself": [member("a", b"x"), hardlink("a", "a")],
    "hard link to a folder": [folder("d"), hardlink("evil", "d")],
    "character device": [member("dev/null", kind=tarfile.CHRTYPE)],
    "block device": [member("dev/sda", kind=tarfile.BLKTYPE)],
    "pipe": [member("pipe", kind=tarfile.FIFOTYPE)],
    "file as folder": [member("a", b"x"), member("a/b", b"y")],
    "whiteout of the parent": [member("d/.wh...")],
    "whiteout of nothing": [member(".wh.")],
    "whiteout through a link out": [symlink("out", "../.."), member("out/.wh.secret")],
}


@pytest.mark.parametrize("name", ESCAPES)
def test_entries_that_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    with pytest.raises(EscapeError):
        unpack(image(ESCAPES[name]), tmp_path / "in/root")
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "in/evil").exists()
    assert not (tmp_path / "in/root").exists()


def test_links_inside_are_followed(tmp_path: Path) -> None:
    layers = [
        [folder("usr"), folder("usr/lib"), symlink("lib", "usr/lib"), symlink("abs", "/usr")],
        [member("lib/a", b"1"), member("abs/lib/b", b"2"), hardlink("c", "lib/a")],
    ]
    root = tmp_path / "root"
    unpack(image(*layers), root)
    assert (root / "usr/lib/a").read_bytes() == b"1"
    assert (root / "usr/lib/b").read_bytes() == b"2"
    assert (root / "lib").is_symlink()
    assert (root / "c").stat().st_ino == (root / "usr/lib/a").stat().st_ino


def test_a_file_replaces_a_link_and_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    unpack(image([symlink("a", "../secret")], [member("a", b"mine")]), root)
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert (root / "a").read_bytes() == b"mine"


def test_a_repeated_hard_linked_file_does_not_change_the_other(tmp_path: Path) -> None:
    root = tmp_path / "root"
    unpack(image([member("a", b"first"), hardlink("b", "a")], [member("b", b"second")]), root)
    assert ((root / "a").read_bytes(), (root / "b").read_bytes()) == (b"first", b"second")


def test_whiteouts(tmp_path: Path) -> None:
    lower = [folder("d"), member("d/a", b"a"), member("d/b", b"b"), folder("e"), member("e/x", b"x"), member("f", b"f")]
    upper = [member("d/.wh.a"), member("e/new", b"new"), member("e/.wh..wh..opq"), member(".wh.f"), member(".wh.never")]
    root = tmp_path / "root"
    unpack(image(lower, upper), root)
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
    assert found == ["d", "d/b", "e", "e/new"]


def test_set_id_bits_go_and_the_owner_keeps_access(tmp_path: Path) -> None:
    root = tmp_path / "root"
    unpack(image([folder("d", 0o555), member("d/su", b"x", mode=0o6755), member("d/ro", mode=0o444)]), root)
    assert stat.S_IMODE((root / "d/su").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "d/ro").stat().st_mode) == 0o644
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o755
    assert (root / "d/su").stat().st_mtime == 1_000_000_000


LIMITS = {
    "entries": ([member(str(number)) for number in range(4)], UnpackLimits(entries=3)),
    "bytes": ([member("a", bytes(100_000))], UnpackLimits(total_bytes=50_000)),
    "path": ([member("/".join(["d" * 100] * 50))], UnpackLimits(name_bytes=4000)),
    "component": ([member("n" * 256)], UnpackLimits()),
    "link": ([symlink("a", "t" * 5000)], UnpackLimits()),
    "header": ([member("n" * 2_000_000)], UnpackLimits()),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(tmp_path: Path, name: str) -> None:
    members, limits = LIMITS[name]
    with pytest.raises(LimitError):
        unpack(image(members), tmp_path / "root", limits)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format(tmp_path: Path, form: int) -> None:
    name = "d" * 90 + "/" + "f" * 90
    unpack(image([folder("d" * 90), member(name, b"x" * 70_000), member("last", b"y")], form=form), tmp_path / "root")
    assert (tmp_path / "root" / name).read_bytes() == b"x" * 70_000
    assert (tmp_path / "root/last").read_bytes() == b"y"


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info, data = member("a", b"x" * 5000)
        archive.addfile(info, io.BytesIO(data))
    with pytest.raises(ContentError):
        unpack(build_image([stream.getvalue()[:2000]], ImageConfig()), tmp_path / "root")
    with pytest.raises(ContentError):
        unpack(build_image([b"no tar at all" * 100], ImageConfig()), tmp_path / "root")


def test_the_destination_must_be_empty(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"keep")
    with pytest.raises(ContentError, match="not empty"):
        unpack(image([member("a")]), tmp_path)
    assert (tmp_path / "mine").read_bytes() == b"keep"
    assert os.listdir(tmp_path) == ["mine"]  # noqa: PTH208  # names are enough
