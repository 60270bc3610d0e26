from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adyton.sms.errors import DatabaseKeyError
from adyton.sms.store.keyfile import read_database_key


@pytest.mark.parametrize("text", ["ab" * 32, "AB" * 32 + "\n", "0x" + "ab" * 32])
def test_the_key_is_read_once(tmp_path: Path, text: str) -> None:
    file = tmp_path / "database-key"
    file.write_text(text)
    assert read_database_key(file).reveal() == bytes([0xAB]) * 32
    assert not file.exists()


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "not hex", "ab" * 2000])
def test_what_is_no_key_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    file = tmp_path / "database-key"
    file.write_text(text)
    with pytest.raises(DatabaseKeyError) as caught:
        read_database_key(file)
    assert caught.value.code == "sms.database.key"
    assert "abab" not in caught.value.message
    assert file.exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseKeyError, match="nowhere"):
        read_database_key(tmp_path / "nowhere")


def test_its_bytes_are_overwritten_before_the_file_goes(tmp_path: Path) -> None:
    file, link = tmp_path / "database-key", tmp_path / "other-name-of-the-same-file"
    file.write_text("ab" * 32 + "\n")
    link.hardlink_to(file)
    read_database_key(file)
    assert link.read_bytes() == bytes(65)


PROGRAM = """
import gc, sys
from pathlib import Path
from adyton.sms.store.database import Database
from adyton.sms.store.keyfile import read_database_key
from adyton.sms.store.repo import Repo
database = Database.open(sys.argv[2], read_database_key(Path(sys.argv[1])))
Repo(database).counts()
print("open", flush=True)
sys.stdin.readline()
"""


def test_no_text_of_it_is_left_in_memory(tmp_path: Path) -> None:
    """What is searched for is 32 random bytes in hex; that the raw key is found shows that the search works."""
    key = os.urandom(32)
    file = tmp_path / "database-key"
    file.write_text(key.hex())
    command = [sys.executable, "-c", PROGRAM, str(file), str(tmp_path / "sms.sqlite3")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            memory = b"".join(writable_memory(process.pid))
        except PermissionError:
            pytest.skip("this system does not let a process read its children's memory (kernel.yama.ptrace_scope)")
        finally:
            process.communicate("end")
    assert key in memory
    assert key.hex().encode() not in memory
    assert key.hex().upper().encode() not in memory


def writable_memory(pid: int) -> Iterator[bytes]:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as stream:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            places, mode = line.split()[:2]
            if not mode.startswith("rw") or "[v" in line:  # the kernel's own pages cannot be read
                continue
            start, end = (int(text, 16) for text in places.split("-"))
            stream.seek(start)
            yield stream.read(end - start)
