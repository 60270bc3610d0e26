"""Which wallet file is meant, and reading and writing them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adyton.base.errors import InputError
from adyton.base.secret import Secret
from adyton.base.types import ZERO_ADDRESS
from adyton.chain.wallet import Wallet
from adyton.sdk import wallets
from adyton.sdk.errors import ClientError
from adyton.sdk.wallets import WalletNotFoundError, WalletSelection

OLD, NEW = (Wallet.from_hex(f"{number:064x}") for number in (1, 2))
PASSWORD = Secret("correct horse")


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    folder = tmp_path / "ks"
    folder.mkdir()
    for hour, wallet in ((9, OLD), (10, NEW), (8, NEW)):
        name = f"UTC--2026-01-01T{hour:02}-00-00.000000000Z--{wallet.address[2:]}"
        (folder / name).write_text(json.dumps({"address": wallet.address[2:].lower(), "crypto": {}, "version": 3}))
    (folder / "notes.txt").write_text("{}")
    return folder


@pytest.mark.usefixtures("keystore")
def test_newest_keystore(tmp_path: Path) -> None:
    assert wallets.find(WalletSelection("ks"), tmp_path).address() == NEW.address


@pytest.mark.parametrize("form", ["0x{}", "{}"])
@pytest.mark.parametrize("case", [str.lower, str.upper, str])
@pytest.mark.usefixtures("keystore")
def test_by_address_the_newest(tmp_path: Path, form: str, case: type[str]) -> None:
    typed = form.format(case(NEW.address[2:]))
    found = wallets.find(WalletSelection("ks", address=typed), tmp_path)
    assert "T10-" in found.path.name


def test_by_file_name(tmp_path: Path, keystore: Path) -> None:
    name = next(path.name for path in keystore.iterdir() if "T09" in path.name)
    assert wallets.find(WalletSelection("ks", file_name=name), tmp_path).address() == OLD.address


@pytest.mark.usefixtures("keystore")
def test_wallet_json_beats_the_folder(tmp_path: Path) -> None:
    wallets.save_plain(OLD, tmp_path)
    assert wallets.find(WalletSelection("ks"), tmp_path).address() == OLD.address
    assert wallets.find(WalletSelection("ks", address=NEW.address), tmp_path).address() == NEW.address


@pytest.mark.parametrize(
    "selection",
    [
        WalletSelection("missing"),
        WalletSelection("ks", file_name="none"),
        WalletSelection("ks", address="0x" + "12" * 20),
        WalletSelection("local"),
    ],
)
@pytest.mark.usefixtures("keystore")
def test_not_found(tmp_path: Path, selection: WalletSelection) -> None:
    with pytest.raises(WalletNotFoundError):
        wallets.find(selection, tmp_path)
    with pytest.raises(
        WalletNotFoundError, match=r"^Failed to load wallet address from keystore: Wallet file not found$"
    ):
        wallets.find_address(selection, tmp_path)
    with pytest.raises(WalletNotFoundError, match=r"^Missing option --wallet-address"):
        wallets.find_for_signing(selection, tmp_path)


def test_address_without_a_wallet(tmp_path: Path) -> None:
    assert wallets.address_or_default(WalletSelection("missing"), tmp_path) == ZERO_ADDRESS
    assert wallets.address_or_default(WalletSelection("local"), tmp_path) is None


def test_encrypted_round_trip(tmp_path: Path) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    saved = wallets.save_encrypted(OLD, PASSWORD, tmp_path, now)
    assert saved.path.name == f"UTC--2026-01-02T03-04-05.678000000Z--{OLD.address[2:]}"
    assert saved.path.stat().st_mode & 0o777 == 0o600
    found = wallets.find(WalletSelection("local"), tmp_path)
    asked: list[str] = []

    def ask(name: str) -> Secret[str]:
        asked.append(name)
        return PASSWORD

    assert found.address() == OLD.address
    assert asked == []
    assert found.open(ask).address == OLD.address
    assert asked == [saved.path.name]
    with pytest.raises(ClientError, match=r"^incorrect password$"):
        found.open(lambda _name: Secret("wrong"))


def test_plain_wallets(tmp_path: Path) -> None:
    saved = wallets.save_plain(OLD, tmp_path)
    assert list(saved.document) == ["privateKey", "publicKey", "address"]
    assert saved.open(lambda _name: PASSWORD).address == OLD.address
    (tmp_path / "wallet.json").write_text(json.dumps({"privateKey": saved.document["privateKey"]}))
    assert wallets.find(WalletSelection(), tmp_path).address() == OLD.address
    (tmp_path / "wallet.json").write_text(json.dumps({"address": OLD.address}))
    with pytest.raises(ClientError, match="no privateKey"):
        wallets.find(WalletSelection(), tmp_path).open(lambda _name: PASSWORD)
    (tmp_path / "wallet.json").write_text("[]")
    with pytest.raises(ClientError, match="not a wallet"):
        wallets.find(WalletSelection(), tmp_path)


@pytest.mark.parametrize("text", ["", "0x12", "zz" * 32, "00" * 32, "ff" * 32, "0x" * 33])
def test_wrong_keys_are_not_repeated(text: str) -> None:
    with pytest.raises(InputError) as caught:
        wallets.import_key(text)
    assert not text or text not in str(caught.value)
