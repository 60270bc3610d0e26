"""Project files: what is read, refused and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adyton.base.types import parse_address
from adyton.sdk import datasets
from adyton.sdk.errors import ClientError
from adyton.sdk.files import Project, read_json

APP = parse_address("0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f")


def write(folder: Path, name: str, document: Any) -> None:  # noqa: ANN401
    (folder / name).write_text(document if isinstance(document, str) else json.dumps(document))


def test_sections_keep_their_order(tmp_path: Path) -> None:
    write(tmp_path, "iexec.json", {"description": "é", "app": {"name": "a"}, "logo": "l"})
    project = Project(tmp_path)
    project.save_sections({"app": {"name": "b"}, "dataset": {}})
    assert (tmp_path / "iexec.json").read_text() == (
        '{\n  "description": "é",\n  "app": {\n    "name": "b"\n  },\n  "logo": "l",\n  "dataset": {}\n}'
    )
    assert project.section("app") == {"name": "b"}
    with pytest.raises(ClientError, match=r'Missing "workerpool" in "iexec.json"'):
        project.section("workerpool")


def test_deployed_keeps_one_address_for_each_kind_and_chain(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.deployed() == {}
    project.save_deployed("app", 134, APP)
    project.save_deployed("app", 1, APP)
    project.save_deployed("dataset", 134, APP)
    assert json.loads((tmp_path / "deployed.json").read_text()) == {
        "app": {"134": APP, "1": APP},
        "dataset": {"134": APP},
    }
    assert project.last_deployed("app", 134) == APP
    assert project.last_deployed("app", 5) is project.last_deployed("workerpool", 134) is None


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"foo": {}}, 'ValidationError: Unknown key "foo" in deployed.json'),
        ({"app": {"134": "0x12"}}, "ValidationError: 0x12 is not a valid ethereum address in deployed.json"),
        ({"app": []}, "ValidationError: app must be a `object` type in deployed.json"),
        ([], "deployed.json must hold a JSON object"),
    ],
)
def test_wrong_deployed(tmp_path: Path, document: object, message: str) -> None:
    write(tmp_path, "deployed.json", document)
    with pytest.raises(ClientError) as caught:
        Project(tmp_path).deployed()
    assert caught.value.message == message


def test_orders_by_chain(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with pytest.raises(ClientError, match=r'Missing "orders.json" file'):
        project.existing_orders(134)
    project.save_orders(134, {"apporder": {"a": 1}})
    project.save_orders(134, {"requestorder": {"b": 2}})
    project.save_orders(1, {"apporder": {"c": 3}})
    assert project.orders(134) == {"apporder": {"a": 1}, "requestorder": {"b": 2}}
    assert project.existing_orders(5) == {}
    write(tmp_path, "orders.json", {"134": []})
    with pytest.raises(ClientError):
        project.orders(134)


@pytest.mark.parametrize("text", ["", "{bad", "[" * 100_000, "\udcff".encode(errors="surrogateescape")])
def test_not_json(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "x.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ClientError, match=r"^SyntaxError: .* in x\.json$"):
        read_json(tmp_path / "x.json")


def test_too_large(tmp_path: Path) -> None:
    with (tmp_path / "x.json").open("wb") as stream:
        stream.truncate(17 << 20)
    with pytest.raises(ClientError, match="has 17825792 bytes"):
        read_json(tmp_path / "x.json")


def test_datasets_round_trip(tmp_path: Path) -> None:
    from adyton.base.secret import Secret  # noqa: PLC0415
    from adyton.compute.encryption import decrypt_dataset  # noqa: PLC0415  # slow to load

    folders = datasets.DatasetFolders.of(tmp_path, None, "plain", None)
    folders.create()
    (folders.original / "a").write_bytes(b"x" * 100)
    asked: list[Path] = []
    (file,) = datasets.encrypt_all(folders, asked.append)
    assert asked == []
    assert decrypt_dataset(file.encrypted.read_bytes(), Secret(file.key.read_text())) == b"x" * 100
    (second,) = datasets.encrypt_all(folders, asked.append)
    assert asked == [file.key, folders.keys / "dataset.key"]
    assert second.checksum != file.checksum
