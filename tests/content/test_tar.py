"""Archives that are the same everywhere."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from adyton.content.errors import ContentError
from adyton.content.tar import TarEntry, deterministic_tar, write_tar


def make_tree(root: Path) -> Path:
    (root / "etc").mkdir(parents=True)
    (root / "bin").mkdir()
    (root / "bin/run").write_bytes(b"#!/bin/sh\n")
    (root / "bin/run").chmod(0o700)
    (root / "etc/config").write_bytes(b"a=1\n")
    (root / "etc/config").chmod(0o600)
    os.link(root / "etc/config", root / "etc/same")
    (root / "link").symlink_to("etc//config")
    (root / ("long" * 30)).write_bytes(b"")
    return root


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = make_tree(tmp_path / "one"), make_tree(tmp_path / "two")
    os.utime(second / "bin/run", (1, 1))
    (second / "etc/config").chmod(0o644)
    assert deterministic_tar(first) == deterministic_tar(second)


def test_modes_times_owners_and_links(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(deterministic_tar(make_tree(tmp_path / "tree")))) as archive:
        members = {member.name: member for member in archive}
    assert list(members) == sorted(members)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members.values()} == {(0, 0, 0, "", "")}
    assert (members["bin/run"].mode, members["etc/config"].mode, members["etc"].mode) == (0o755, 0o644, 0o755)
    assert members["etc/same"].islnk()
    assert members["etc/same"].linkname == "etc/config"
    assert members["link"].linkname == "etc//config"


def test_entries_are_sorted_whatever_their_order() -> None:
    entries = [TarEntry("b", content=b"2"), TarEntry("a", "dir"), TarEntry("a/x", content=b"1", executable=True)]
    assert deterministic_tar(entries) == deterministic_tar(reversed(entries))


def test_the_format_is_pinned() -> None:
    """Measured layers must not change with a library's version."""
    archive = deterministic_tar(
        [TarEntry("dir", "dir"), TarEntry("dir/file", content=b"hello"), TarEntry("l", "symlink", target="dir")]
    )
    assert hashlib.sha256(archive).hexdigest() == "a66b402429f4ccd75e87eb92853abb4faec2f642cde98bb621b1ac01a017c867"


@pytest.mark.parametrize(
    "entries",
    [
        [TarEntry("/abs")],
        [TarEntry("a/../b")],
        [TarEntry("a//b")],
        [TarEntry("./a")],
        [TarEntry("")],
        [TarEntry("a"), TarEntry("a")],
        [TarEntry("a", "hardlink", target="b")],
        [TarEntry("a", content=Path("/nonexistent/file"))],
    ],
)
def test_entries_that_are_refused(entries: list[TarEntry]) -> None:
    with pytest.raises(ContentError):
        deterministic_tar(entries)


def test_devices_and_pipes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ContentError, match="pipe is neither"):
        write_tar(tmp_path, io.BytesIO())
