from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from adyton.base.errors import InputError
from adyton.base.files import write_private
from adyton.base.settings import Settings


class Example(Settings):
    env_prefix: ClassVar[str] = "ADYTON_EXAMPLE_"
    env_names: ClassVar[dict[str, str]] = {"IEXEC_EXAMPLE_PORT": "port"}

    port: int = Field(1000, ge=1, le=65535)
    name: str = "none"


def test_file_then_environment_then_explicit(tmp_path: Path) -> None:
    file = tmp_path / "example.toml"
    file.write_text('port = 1\nname = "file"\n')
    assert Example.load(file, {}) == Example(port=1, name="file")
    assert Example.load(file, {"ADYTON_EXAMPLE_PORT": "2"}).port == 2
    assert Example.load(file, {"IEXEC_EXAMPLE_PORT": "3"}).port == 3
    assert Example.load(file, {"ADYTON_EXAMPLE_PORT": "2"}, port=4).port == 4


@pytest.mark.parametrize(
    ("text", "env", "named"),
    [
        ("prot = 1", {}, "prot"),
        ("", {"ADYTON_EXAMPLE_PROT": "1"}, "prot"),
        ("port = 70000", {}, "65535"),
        ("port = [", {}, "TOML"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, env: dict[str, str], named: str) -> None:
    file = tmp_path / "example.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=named):
        Example.load(file, env)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        Example.load(tmp_path / "nowhere.toml", {})


def test_private_files_are_private_and_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "key"
    write_private(file, b"one")
    write_private(file, b"two")
    assert file.read_bytes() == b"two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
