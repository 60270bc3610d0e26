"""Wallet files: where they are, which one is meant, reading and writing them (reference sections 0.4 and 2.5).

Two forms: an encrypted Ethereum keystore (version 3) named ``UTC--<date>--<address>``, and the plain ``wallet.json``
of a throw-away project. Both are readable by their owner only. Only the address is read where no signature is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adyton.base.errors import AdytonError, InputError
from adyton.base.secret import Secret
from adyton.base.types import ZERO_ADDRESS, Address, parse_address
from adyton.sdk.errors import ClientError
from adyton.sdk.files import WALLET_FILE, read_json, write_json

if TYPE_CHECKING:
    from adyton.chain.wallet import Wallet

_NOT_FOUND: Final = "Wallet file not found"
_NO_WALLET: Final = (
    "Missing option --wallet-address <walletAddress> or --wallet-file <walletFileName> and no wallet.json"
)
_PRIVATE_KEY = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")

AskPassword = Callable[[str], Secret[str]]
"""Gives the password of the wallet file that it is told the name of."""


class WalletNotFoundError(ClientError):
    """No wallet file is where it was looked for."""

    code = "sdk.wallet.not_found"
    hint = 'make one with "iexec wallet create"'


@dataclass(frozen=True, slots=True)
class WalletSelection:
    """Which wallet the user means.

    Attributes:
        keystore: ``global``, ``local``, a folder, or None for the default (global).
        file_name: of a file in that folder.
        address: newest file of this account in that folder.
    """

    keystore: str | None = None
    file_name: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class WalletFile:
    """A wallet file's path and JSON content."""

    path: Path
    document: dict[str, Any]

    @property
    def encrypted(self) -> bool:
        """Whether it is a keystore."""
        return "crypto" in self.document or "Crypto" in self.document

    def address(self) -> Address:
        """The account, without opening the wallet.

        Raises:
            ClientError: the file does not say.
        """
        text = self.document.get("address")
        if isinstance(text, str):
            return parse_address(text if text.startswith("0x") else f"0x{text}")
        if not self.encrypted:
            return self.open(_no_password).address
        raise ClientError(f"{self.path.name} has no address", code="sdk.wallet.address")

    def open(self, ask: AskPassword) -> Wallet:
        """The wallet.

        Raises:
            ClientError: wrong password, or no usable key.
        """
        from adyton.chain import keystore  # noqa: PLC0415  # scrypt's library: only for commands that sign
        from adyton.chain.wallet import Wallet  # noqa: PLC0415  # the same for the curve's

        if self.encrypted:
            password = ask(self.path.name)
            try:
                return keystore.decrypt(self.document, password)
            except AdytonError as error:
                raise _opening_error(error) from error
        key = self.document.get("privateKey")
        if not isinstance(key, str):
            raise ClientError(f"{self.path.name} has no privateKey", code="sdk.wallet.key")
        return Wallet.from_hex(key)


def keystore_folder(choice: str | None, cwd: Path) -> Path:
    """The folder that ``--keystoredir`` names."""
    if choice in (None, "global"):
        from adyton.chain import keystore  # noqa: PLC0415  # not needed where a folder is given

        return Path(keystore.default_dir())
    return cwd if choice == "local" else cwd / str(choice)


def find(selection: WalletSelection, cwd: Path) -> WalletFile:
    """The wallet file that is meant: by name, by address, ``./wallet.json``, or the newest keystore.

    Raises:
        WalletNotFoundError: there is none.
        ClientError: the file is not JSON.
    """
    folder = keystore_folder(selection.keystore, cwd)
    if selection.file_name is not None:
        return _read(folder / selection.file_name)
    if selection.address is not None:
        wanted = selection.address.lower().removeprefix("0x")
        return _read(_newest(folder, lambda address: address.lower().removeprefix("0x") == wanted))
    if (cwd / WALLET_FILE).is_file():
        return _read(cwd / WALLET_FILE)
    return _read(_newest(folder, lambda _address: True))


def find_for_signing(selection: WalletSelection, cwd: Path) -> WalletFile:
    """As :func:`find`, with the message that says which options would help.

    Raises:
        WalletNotFoundError: there is none.
    """
    try:
        return find(selection, cwd)
    except WalletNotFoundError as error:
        raise WalletNotFoundError(_NO_WALLET) from error


def find_address(selection: WalletSelection, cwd: Path) -> Address:
    """The address that is meant, for commands that are about a wallet.

    Raises:
        WalletNotFoundError: there is no wallet.
    """
    try:
        return find(selection, cwd).address()
    except WalletNotFoundError as error:
        raise WalletNotFoundError(f"Failed to load wallet address from keystore: {_NOT_FOUND}") from error


def address_or_default(selection: WalletSelection, cwd: Path) -> Address | None:
    """The address for commands that work without a wallet too.

    As the official client: the zero address when the keystore folder does not exist, None when nothing is in it.
    """
    try:
        return find(selection, cwd).address()
    except WalletNotFoundError:
        return None if keystore_folder(selection.keystore, cwd).is_dir() else ZERO_ADDRESS


def import_key(text: str) -> Wallet:
    """A wallet from a private key in hex, with or without ``0x``.

    Raises:
        InputError: not a key; the text is not repeated.
    """
    from adyton.chain.wallet import Wallet  # noqa: PLC0415  # only for commands that make wallets

    if not _PRIVATE_KEY.fullmatch(text):
        raise InputError("invalid private key", code="sdk.wallet.key", hint="give 64 hex digits")
    return Wallet.from_hex(text)


def plain_document(wallet: Wallet) -> dict[str, str]:
    """The content of ``wallet.json``: private key, uncompressed public key, address."""
    return {
        "privateKey": "0x" + wallet.private_key().reveal().hex(),
        "publicKey": "0x" + wallet.public_key().hex(),
        "address": wallet.address,
    }


def save_plain(wallet: Wallet, cwd: Path) -> WalletFile:
    """Write ``./wallet.json``, unencrypted, for its owner only."""
    file = WalletFile(cwd / WALLET_FILE, dict(plain_document(wallet)))
    write_json(file.path, file.document, private=True)
    return file


def save_encrypted(wallet: Wallet, password: Secret[str], folder: Path, now: datetime) -> WalletFile:
    """Write a new keystore file into ``folder``."""
    from adyton.chain import keystore  # noqa: PLC0415  # scrypt's library: only for commands that make wallets

    file = WalletFile(folder / keystore.file_name(wallet.address, now), keystore.encrypt(wallet, password))
    write_json(file.path, file.document, private=True)
    return file


def _newest(folder: Path, accept: Callable[[str], bool]) -> Path:
    """The keystore file with the latest date in its name, among those whose address is accepted."""
    candidates = []
    for path in folder.iterdir() if folder.is_dir() else ():
        parts = path.name.split("--")
        if len(parts) == 3 and accept(parts[2]):
            candidates.append((parts[1], path))
    if not candidates:
        raise WalletNotFoundError(_NOT_FOUND)
    return max(candidates)[1]


def _read(path: Path) -> WalletFile:
    try:
        document = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise WalletNotFoundError(_NOT_FOUND) from None
    if not isinstance(document, dict):
        raise ClientError(f"{path.name} is not a wallet", code="sdk.wallet.format")
    return WalletFile(path, document)


def _opening_error(error: AdytonError) -> ClientError:
    if "password" in error.message:
        return ClientError("incorrect password", code="sdk.wallet.password")
    return ClientError(error.message, code=error.code, hint=error.hint)


def _no_password(name: str) -> Secret[str]:
    raise ClientError(f"{name} is encrypted", code="sdk.wallet.encrypted")
