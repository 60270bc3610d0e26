from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adyton.base.aead import new_key
from adyton.runtime.errors import VolumeError
from adyton.runtime.volume import CHUNK_BYTES, VOLUME_FILE, ProtectedVolume, _Writer

_CANARY = b"canary-8f2d71"


@pytest.fixture
def volume(tmp_path: Path) -> ProtectedVolume:
    folder, host = tmp_path / "plain", tmp_path / "host"
    folder.mkdir()
    host.mkdir()
    return ProtectedVolume(name="iexec_out", session="session", key=new_key(), folder=folder, host_folder=host)


def _file(volume: ProtectedVolume) -> Path:
    assert volume.host_folder is not None
    return volume.host_folder / VOLUME_FILE


def _elsewhere(volume: ProtectedVolume, tmp_path: Path, **changes: object) -> ProtectedVolume:
    folder = tmp_path / "other"
    folder.mkdir()
    return replace(volume, folder=folder, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 7])
def test_what_was_put_away_comes_back(volume: ProtectedVolume, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (volume.folder / "deep/er").mkdir(parents=True)
    (volume.folder / "deep/er/file").write_bytes(content)
    (volume.folder / "tool").write_bytes(b"#!")
    (volume.folder / "tool").chmod(0o755)
    (volume.folder / "link").symlink_to("/etc/passwd")
    (volume.folder / "hard").hardlink_to(volume.folder / "tool")
    (volume.folder / "empty").mkdir()
    os.mkfifo(volume.folder / "pipe")
    volume.seal()
    other = _elsewhere(volume, tmp_path)
    other.open()
    assert (other.folder / "deep/er/file").read_bytes() == content
    assert not (other.folder / "link").is_symlink()
    assert (other.folder / "hard").read_bytes() == b"#!"
    assert (other.folder / "tool").stat().st_mode & 0o111
    assert (other.folder / "empty").is_dir()
    assert not (other.folder / "pipe").exists()


def _tar(*members: tuple[str, bytes, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        _tar(("../escape", tarfile.REGTYPE, "")),
        _tar(("/absolute", tarfile.REGTYPE, "")),
        _tar(("a//b", tarfile.REGTYPE, "")),
        _tar(("link", tarfile.SYMTYPE, "/etc")),
        _tar(("hard", tarfile.LNKTYPE, "/etc/passwd")),
        _tar(("pipe", tarfile.FIFOTYPE, "")),
        _tar(("device", tarfile.CHRTYPE, "")),
    ],
    ids=["parent", "absolute", "empty part", "symbolic link", "hard link", "pipe", "device"],
)
def test_entries_that_reach_outside_are_refused_even_when_authentic(
    volume: ProtectedVolume, tmp_path: Path, archive: bytes
) -> None:
    with _file(volume).open("wb") as stream:
        writer = _Writer(stream, volume._cipher)
        writer.write(archive)
        writer.finish()
    with pytest.raises(VolumeError):
        volume.open()
    assert not (tmp_path / "escape").exists()
    assert list(volume.folder.iterdir()) == []


def test_no_file_is_an_empty_volume(volume: ProtectedVolume) -> None:
    volume.open()
    assert list(volume.folder.iterdir()) == []


def test_the_host_sees_no_content_and_no_names(volume: ProtectedVolume) -> None:
    (volume.folder / _CANARY.decode()).write_bytes(_CANARY * 1000)
    volume.seal()
    assert [path.name for path in _file(volume).parent.iterdir()] == [VOLUME_FILE]
    assert _CANARY not in _file(volume).read_bytes()


def test_equal_contents_give_different_files(volume: ProtectedVolume) -> None:
    files = []
    for _time in range(2):
        volume.seal()
        files.append(_file(volume).read_bytes())
    assert files[0] != files[1]


def _flip(offset: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        position = offset % len(data)
        return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]

    return change


_SEALED_CHUNK = CHUNK_BYTES + 16


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _data: b"", id="empty"),
        pytest.param(lambda data: data[:20], id="cut in the header"),
        pytest.param(lambda data: data[:40], id="only the header"),
        pytest.param(lambda data: data[:-1], id="last byte missing"),
        pytest.param(lambda data: data + b"\0", id="a byte more"),
        pytest.param(lambda data: data[: 40 + _SEALED_CHUNK], id="cut after a chunk"),
        pytest.param(lambda data: data[:40] + data[40 + _SEALED_CHUNK :], id="first chunk dropped"),
        pytest.param(lambda data: data[: 40 + _SEALED_CHUNK] + data[40:], id="first chunk repeated"),
        pytest.param(
            lambda d: d[:40] + d[40 + _SEALED_CHUNK : 40 + 2 * _SEALED_CHUNK] + d[40 : 40 + _SEALED_CHUNK]
            + d[40 + 2 * _SEALED_CHUNK :],
            id="chunks exchanged",
        ),
        pytest.param(_flip(0), id="magic"),
        pytest.param(_flip(10), id="file id"),
        pytest.param(_flip(100), id="first chunk"),
        pytest.param(_flip(-1), id="last tag"),
    ],
)  # fmt: skip
def test_changed_files_are_refused(volume: ProtectedVolume, tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    (volume.folder / "file").write_bytes(os.urandom(2 * CHUNK_BYTES + 1000))
    volume.seal()
    _file(volume).write_bytes(change(_file(volume).read_bytes()))
    with pytest.raises(VolumeError):
        _elsewhere(volume, tmp_path).open()


@pytest.mark.parametrize("change", [{"name": "iexec_in"}, {"session": "other"}, {"key": new_key()}], ids=str)
def test_files_of_other_volumes_sessions_and_keys_are_refused(
    volume: ProtectedVolume, tmp_path: Path, change: dict[str, object]
) -> None:
    volume.seal()
    with pytest.raises(VolumeError):
        _elsewhere(volume, tmp_path, **change).open()


def test_a_failed_write_keeps_the_old_file(volume: ProtectedVolume) -> None:
    (volume.folder / "file").write_bytes(b"old")
    volume.seal()
    old = _file(volume).read_bytes()
    loop = volume.folder / "vanishing"
    loop.mkdir()
    (volume.folder / "file").unlink()
    broken = replace(volume, folder=volume.folder / "missing")
    with pytest.raises(OSError, match="missing"):
        broken.seal()
    assert _file(volume).read_bytes() == old
    assert [path.name for path in _file(volume).parent.iterdir()] == [VOLUME_FILE]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder: (folder / "new").touch(), id="new file"),
        pytest.param(lambda folder: (folder / "file").write_bytes(b"new"), id="same size"),
        pytest.param(lambda folder: (folder / "file").unlink(), id="removed"),
        pytest.param(lambda folder: (folder / "file").chmod(0o600), id="mode"),
    ],
)
def test_snapshots_see_changes(volume: ProtectedVolume, change: Callable[[Path], object]) -> None:
    (volume.folder / "file").write_bytes(b"old")
    (volume.folder / "file").chmod(0o644)
    before = volume.snapshot()
    assert volume.snapshot() == before
    change(volume.folder)
    assert volume.snapshot() != before


def test_without_a_host_folder_nothing_is_kept(volume: ProtectedVolume) -> None:
    ephemeral = replace(volume, host_folder=None)
    ephemeral.open()
    (ephemeral.folder / "file").touch()
    ephemeral.seal()
    assert not _file(volume).exists()
