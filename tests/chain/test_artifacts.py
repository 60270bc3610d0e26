from __future__ import annotations

import json
from pathlib import Path

import pytest

from adyton.base.types import Address
from adyton.chain.artifacts import POCO_VERSION, ArtifactError, Artifacts, find_node_modules, function_signatures
from adyton.chain.recipe import LIBRARY, MODULES

PLACE = Address("0x" + "ab" * 20)


def package(folder: Path, version: str = POCO_VERSION) -> Path:
    """A ``node_modules`` with a contracts package that has no contracts."""
    root = folder / "node_modules" / "@iexec" / "poco"
    root.mkdir(parents=True)
    (root / "package.json").write_text(json.dumps({"version": version}))
    return folder / "node_modules"


def test_found_from_below_and_by_name(tmp_path: Path) -> None:
    node_modules = package(tmp_path)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_node_modules(below, {}) == node_modules
    assert find_node_modules(Path("/"), {"ADYTON_NODE_MODULES": str(node_modules)}) == node_modules


def test_missing_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as missing:
        find_node_modules(tmp_path, {})
    assert "npm ci" in missing.value.hint
    with pytest.raises(ArtifactError, match="ADYTON_NODE_MODULES"):
        find_node_modules(tmp_path, {"ADYTON_NODE_MODULES": str(tmp_path)})


def test_other_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"6\.1\.0"):
        Artifacts(package(tmp_path, "6.1.0"))
    with pytest.raises(ArtifactError):
        Artifacts(tmp_path)


def test_unknown_contract(artifacts: Artifacts) -> None:
    with pytest.raises(ArtifactError, match="NoSuch"):
        artifacts.abi("NoSuch")


def test_every_module_links(artifacts: Artifacts) -> None:
    for mode in ("Native", "Token"):
        for template in MODULES:
            assert artifacts.bytecode(template.format(mode=mode), {LIBRARY: PLACE})


def test_library_is_needed_and_used(artifacts: Artifacts) -> None:
    with pytest.raises(ArtifactError, match=LIBRARY):
        artifacts.bytecode("IexecPoco1Delegate")
    assert artifacts.bytecode("IexecPoco1Delegate", {LIBRARY: PLACE}).count(bytes.fromhex(PLACE[2:])) == 4


def test_signatures_expand_structs_and_name_the_fallbacks(artifacts: Artifacts) -> None:
    signatures = function_signatures(artifacts.abi("IexecEscrowNativeDelegate"))
    assert {"receive", "fallback", "deposit()"} <= set(signatures)
    match = next(each for each in function_signatures(artifacts.abi("IexecPoco1Delegate")) if "matchOrders(" in each)
    assert match.startswith("matchOrders((address,uint256,uint256,bytes32,address,address,address,bytes32,bytes),")
