"""Device files on a real file system."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from adyton.platform.devicefiles import MAX_READ_BYTES, OsDeviceFiles


def test_reads_writes_and_folders(tmp_path: Path) -> None:
    files = OsDeviceFiles(tmp_path)
    (tmp_path / "inblob").touch()
    files.write("inblob", b"\0data\n")
    assert files.read("inblob") == b"\0data\n"
    files.make_folder("report")
    assert (tmp_path / "report").is_dir()
    files.remove_folder("report")
    assert not (tmp_path / "report").exists()


def test_a_write_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        OsDeviceFiles(tmp_path).write("inblob", b"data")
    assert not list(tmp_path.iterdir())


def test_the_limit_of_a_reading(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(bytes(MAX_READ_BYTES))
    assert len(OsDeviceFiles(tmp_path).read("whole")) == MAX_READ_BYTES
    with pytest.raises(OSError, match="more bytes") as caught:
        OsDeviceFiles(Path("/dev")).read("zero")
    assert caught.value.errno == errno.EFBIG


def test_a_write_that_is_not_taken_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught:
        OsDeviceFiles(Path("/dev")).write("full", b"data")
    assert caught.value.errno == errno.ENOSPC
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        OsDeviceFiles(tmp_path).write("pipe", b"whole")
        assert os.read(reader, 64) == b"whole"
    finally:
        os.close(reader)
