"""The house stands: rooms import only downwards, and a neighbour only through its client or wire."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "adyton"
LAYERS = (
    {"base", "web"},
    {"chain", "content", "attestation", "runner"},
    {"enclave"},
    {"platform"},
    {"cas", "sms", "market", "results", "runtime"},
    {"compute", "workerpool"},
    {"sdk", "devnet"},
    {"cli"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
OPEN_TO_NEIGHBOURS = {"client", "wire"}
# base is the ground floor's ground: web stands on it.
SAME_LAYER_ALLOWED = {("web", "base"), ("workerpool", "compute"), ("devnet", "sdk")}


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations() -> Iterator[str]:
    for file in sorted(PACKAGE.rglob("*.py")):
        room = file.relative_to(PACKAGE).parts[0]
        if room not in LEVEL:
            continue
        for name in imports(file):
            parts = name.split(".")
            if parts[0] != "adyton" or len(parts) < 2 or parts[1] == room or parts[1] not in LEVEL:
                continue
            above = LEVEL[parts[1]] > LEVEL[room]
            beside = LEVEL[parts[1]] == LEVEL[room] and (room, parts[1]) not in SAME_LAYER_ALLOWED
            private = beside and (len(parts) < 3 or parts[2] not in OPEN_TO_NEIGHBOURS)
            if above or private:
                yield f"{file.relative_to(PACKAGE)} imports {name}"


def test_rooms_import_only_downwards() -> None:
    assert list(violations()) == []


def test_every_room_has_a_layer() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(LEVEL)


@pytest.mark.parametrize("module", ["adyton.base.types", "adyton.base.errors", "adyton.base.secret"])
def test_the_ground_is_light(module: str) -> None:
    heavy = {"pydantic", "sqlalchemy", "fastapi", "httpx2", "cryptography", "web3", "eth_abi"}
    top_level = {
        name.split(".")[0]
        for node in ast.parse((PACKAGE / f"{module.removeprefix('adyton.').replace('.', '/')}.py").read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert not top_level & heavy
