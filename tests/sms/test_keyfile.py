from __future__ import annotations

from pathlib import Path

import pytest

from adyton.sms.errors import DatabaseKeyError
from adyton.sms.keyfile import read_database_key


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
