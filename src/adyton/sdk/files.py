"""The files of a project, in its folder: ``iexec.json``, ``chain.json``, ``deployed.json``, ``orders.json``.

JSON with two blanks of indentation and no line break at the end; replaced atomically.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from adyton.base.errors import InputError
from adyton.base.files import write_atomic, write_private
from adyton.base.jsontext import parse_json
from adyton.base.types import Address, parse_address
from adyton.sdk.errors import ClientError

PROJECT_FILE: Final = "iexec.json"
CHAINS_FILE: Final = "chain.json"
DEPLOYED_FILE: Final = "deployed.json"
ORDERS_FILE: Final = "orders.json"
WALLET_FILE: Final = "wallet.json"

MAX_FILE_BYTES: Final = 16 << 20  # of a project file; they hold kilobytes

RESOURCES: Final = ("app", "dataset", "workerpool")


def to_json_text(document: object) -> str:
    """The text form of all project files."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def read_json(path: Path) -> Any:  # noqa: ANN401  # JSON is any
    """Read one JSON file.

    Raises:
        FileNotFoundError: there is none; callers say which command makes it.
        ClientError: too large, or not JSON.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ClientError(f"{path.name} has {size} bytes, at most {MAX_FILE_BYTES} are read")
        return parse_json(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ClientError(
            f"SyntaxError: {error} in {path.name}", code="sdk.files.json", hint="correct the JSON syntax"
        ) from error
    except (IsADirectoryError, PermissionError) as error:
        raise ClientError(f"{path.name} cannot be read: {error.strerror}", code="sdk.files.unreadable") from error


def write_json(path: Path, document: object, *, private: bool = False) -> None:
    """Write one project file; ``private`` ones are readable by their owner only."""
    data = to_json_text(document).encode()
    if private:
        write_private(path, data)
    else:
        write_atomic(path, data)


class Project:
    """The project of one folder.

    Args:
        folder: where its files are; usually the working directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where a project file is."""
        return self.folder / name

    def load(self) -> dict[str, Any]:
        """The content of ``iexec.json``.

        Raises:
            ClientError: missing or malformed.
        """
        return self._existing(PROJECT_FILE)

    def section(self, name: str) -> dict[str, Any]:
        """One resource description of ``iexec.json``.

        Raises:
            ClientError: the file or the section is missing.
        """
        section = self.load().get(name)
        if not isinstance(section, dict):
            raise ClientError(
                f'Missing "{name}" in "{PROJECT_FILE}". Did you forget to run "iexec {name} init"?',
                code="sdk.files.section",
            )
        return section

    def save_sections(self, sections: dict[str, Any]) -> None:
        """Replace sections of ``iexec.json``, keeping all others and their order.

        Raises:
            ClientError: there is no ``iexec.json`` yet.
        """
        write_json(self.path(PROJECT_FILE), self.load() | sections)

    def deployed(self) -> dict[str, dict[str, str]]:
        """``deployed.json``: by resource kind and chain id, the last deployed address; empty when there is no file.

        Raises:
            ClientError: malformed.
        """
        try:
            document = read_json(self.path(DEPLOYED_FILE))
        except FileNotFoundError:
            return {}
        return _checked_deployed(document)

    def last_deployed(self, kind: str, chain_id: int) -> Address | None:
        """The address that the last deployment of a kind on a chain got, or None."""
        text = self.deployed().get(kind, {}).get(str(chain_id))
        return parse_address(text) if text else None

    def save_deployed(self, kind: str, chain_id: int, address: Address) -> None:
        """Remember a deployment."""
        document = self.deployed()
        write_json(self.path(DEPLOYED_FILE), document | {kind: document.get(kind, {}) | {str(chain_id): address}})

    def orders(self, chain_id: int) -> dict[str, Any]:
        """The signed orders of a chain in ``orders.json``, by ``apporder`` and so on; empty when there is no file.

        Raises:
            ClientError: malformed.
        """
        try:
            document = read_json(self.path(ORDERS_FILE))
        except FileNotFoundError:
            return {}
        orders = document.get(str(chain_id), {}) if isinstance(document, dict) else None
        if not isinstance(orders, dict):
            raise ClientError(f"{ORDERS_FILE} must hold an object of orders by chain id", code="sdk.files.orders")
        return orders

    def existing_orders(self, chain_id: int) -> dict[str, Any]:
        """As :meth:`orders`, for commands that need the file.

        Raises:
            ClientError: missing or malformed.
        """
        self._existing(ORDERS_FILE)
        return self.orders(chain_id)

    def save_orders(self, chain_id: int, orders: dict[str, Any]) -> None:
        """Add or replace signed orders of a chain."""
        try:
            document = read_json(self.path(ORDERS_FILE))
        except FileNotFoundError:
            document = {}
        write_json(self.path(ORDERS_FILE), document | {str(chain_id): self.orders(chain_id) | orders})

    def _existing(self, name: str) -> dict[str, Any]:
        try:
            document = read_json(self.path(name))
        except FileNotFoundError:
            raise ClientError(
                f'Missing "{name}" file, did you forget to run "iexec init"?', code="sdk.files.missing"
            ) from None
        if not isinstance(document, dict):
            raise ClientError(f"{name} must hold a JSON object", code="sdk.files.object")
        return document


def _checked_deployed(document: object) -> dict[str, dict[str, str]]:
    if not isinstance(document, dict):
        raise ClientError(f"{DEPLOYED_FILE} must hold a JSON object", code="sdk.files.deployed")
    unknown = [key for key in document if key not in RESOURCES]
    if unknown:
        message = f'ValidationError: Unknown key "{", ".join(unknown)}" in {DEPLOYED_FILE}'
        raise ClientError(message, code="sdk.files.deployed")
    for kind, by_chain in document.items():
        if not isinstance(by_chain, dict):
            raise ClientError(f"ValidationError: {kind} must be a `object` type in {DEPLOYED_FILE}")
        for chain, address in by_chain.items():
            try:
                by_chain[chain] = parse_address(address)
            except InputError as error:
                message = f"ValidationError: {address} is not a valid ethereum address in {DEPLOYED_FILE}"
                raise ClientError(message, code="sdk.files.deployed") from error
    return document
