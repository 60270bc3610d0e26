"""The published contracts: where their npm packages are, and the bytecode of each contract that is deployed.

The contracts are ``@iexec/poco`` 5.5.0 as published; delegates and registries come from its ``artifacts`` folder, the
proxy, the token and ENS from ``build/contracts`` (the delegates there are older and must not be used).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from adyton.base.errors import AdytonError
from adyton.base.types import Address

POCO_PACKAGE: Final = "@iexec/poco"
POCO_VERSION: Final = "5.5.0"
NODE_PACKAGE: Final = "@foundry-rs/anvil-linux-amd64"
ENVIRONMENT_NAME: Final = "ADYTON_NODE_MODULES"

_INSTALL: Final = "run 'npm ci' in the folder with package.json, or set ADYTON_NODE_MODULES"
_HEX: Final = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2})*)")
_BUILD_ONLY: Final = frozenset(
    {
        "ERC1538Proxy",
        "ERC1538UpdateDelegate",
        "ERC1538QueryDelegate",
        "RLC",
        "ENSRegistry",
        "FIFSRegistrar",
        "ReverseRegistrar",
        "PublicResolver",
    }
)


class ArtifactError(AdytonError):
    """A package or contract is missing, of another version, or not readable."""

    code = "chain.artifacts"
    hint = _INSTALL


def find_node_modules(start: Path | None = None, environment: Mapping[str, str] | None = None) -> Path:
    """The ``node_modules`` folder with the contracts and the node.

    Looks at the environment's ``ADYTON_NODE_MODULES``, then upwards from ``start`` (the package), then upwards from
    the working folder.

    Raises:
        ArtifactError: not found.
    """
    named = (os.environ if environment is None else environment).get(ENVIRONMENT_NAME)
    if named is not None:
        if not (Path(named) / POCO_PACKAGE).is_dir():
            raise ArtifactError(f"{ENVIRONMENT_NAME} is {named}, which has no {POCO_PACKAGE}")
        return Path(named)
    for folder in _upwards(start):
        if (folder / "node_modules" / POCO_PACKAGE / "package.json").is_file():
            return folder / "node_modules"
    raise ArtifactError(f"the npm package {POCO_PACKAGE} is not installed")


def _upwards(start: Path | None) -> Iterator[Path]:
    for origin in (Path(__file__).parent, Path.cwd()) if start is None else (start,):
        resolved = origin.resolve()
        yield resolved
        yield from resolved.parents


class Artifacts:
    """Contracts by name.

    Args:
        node_modules: folder of npm packages.

    Raises:
        ArtifactError: the contracts' package is missing or of another version.
    """

    def __init__(self, node_modules: Path) -> None:
        self.node_modules = node_modules
        self._root = node_modules / POCO_PACKAGE
        self._loaded: dict[str, dict[str, Any]] = {}
        version = _load(self._root / "package.json").get("version")
        if version != POCO_VERSION:
            raise ArtifactError(f"{POCO_PACKAGE} is version {version}, {POCO_VERSION} is needed")

    def abi(self, name: str) -> list[dict[str, Any]]:
        """The ABI entries of a contract."""
        found: list[dict[str, Any]] = self._contract(name)["abi"]
        return found

    def bytecode(self, name: str, links: Mapping[str, Address] | None = None) -> bytes:
        """Creation code without constructor arguments.

        Args:
            name: contract.
            links: addresses of the libraries it uses, by library name.

        Raises:
            ArtifactError: unknown contract, or a library without an address.
        """
        contract = self._contract(name)
        text = bytearray(contract["bytecode"].removeprefix("0x").encode())
        for libraries in contract.get("linkReferences", {}).values():
            for library, places in libraries.items():
                if library not in (links or {}):
                    raise ArtifactError(f"{name} needs the address of the library {library}", hint="")
                for place in places:
                    begin = 2 * place["start"]
                    text[begin : begin + 40] = (links or {})[library][2:].lower().encode()
        match = _HEX.fullmatch(text.decode())
        if match is None or not match[1]:
            raise ArtifactError(f"the creation code of {name} is incomplete")
        return bytes.fromhex(match[1])

    def _contract(self, name: str) -> dict[str, Any]:
        if name not in self._loaded:
            self._loaded[name] = _load(self._path(name))
        return self._loaded[name]

    def _path(self, name: str) -> Path:
        if name in _BUILD_ONLY:
            return self._root / "build" / "contracts" / f"{name}.json"
        contracts = self._root / "artifacts" / "contracts"
        for folder in ("modules/delegates", "registries/*", "libs"):
            for found in contracts.glob(f"{folder}/{name}.sol/{name}.json"):
                return found
        raise ArtifactError(f"{POCO_PACKAGE} has no contract {name}")


def _load(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot read {path.name} of {POCO_PACKAGE}") from error
    return found


def function_signatures(abi: list[dict[str, Any]]) -> list[str]:
    """The functions of an ABI as ``name(type,…)``, with ``receive`` and ``fallback`` by those names."""
    return [
        entry["type"]
        if entry["type"] in {"receive", "fallback"}
        else f"{entry['name']}({','.join(map(_type_text, entry['inputs']))})"
        for entry in abi
        if entry["type"] in {"function", "receive", "fallback"}
    ]


def _type_text(parameter: dict[str, Any]) -> str:
    kind = str(parameter["type"])
    if kind.startswith("tuple"):
        return f"({','.join(map(_type_text, parameter['components']))}){kind.removeprefix('tuple')}"
    return kind
