from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import pytest
from eth_account import Account

from adyton.base.secret import Secret
from adyton.chain import keystore
from adyton.chain.keystore import KeystoreError, PasswordError
from adyton.chain.wallet import Wallet

KEY = "b8e97e9e217a50dedbe3c0c4c37b85a85a10d4eb23fca6dbad55162cfbb1c450"
PASSWORD = Secret("correct horse")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return keystore.encrypt(Wallet.from_hex(KEY), PASSWORD)


def test_form(document: dict[str, Any]) -> None:
    assert list(document) == ["address", "id", "version", "Crypto"]
    assert document["address"] == "123790ae4e14865b972ee04a5f9fd5fb153cd5e7"
    crypto = document["Crypto"]
    assert (crypto["cipher"], crypto["kdf"]) == ("aes-128-ctr", "scrypt")
    parameters = crypto["kdfparams"]
    assert (parameters["n"], parameters["r"], parameters["p"], parameters["dklen"]) == (131_072, 8, 1, 32)
    assert KEY not in str(document)


def test_round_trip_and_eth_account_reads_it(document: dict[str, Any]) -> None:
    assert keystore.decrypt(document, PASSWORD).private_key() == Secret(bytes.fromhex(KEY))
    assert Account.decrypt(copy.deepcopy(document), PASSWORD.reveal()).hex().removeprefix("0x") == KEY


@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2"])
def test_reads_what_eth_account_wrote(kdf: Literal["scrypt", "pbkdf2"]) -> None:
    written = Account.encrypt(bytes.fromhex(KEY), PASSWORD.reveal(), kdf=kdf, iterations=4096)
    assert "crypto" in written
    assert keystore.decrypt(written, PASSWORD).address == Wallet.from_hex(KEY).address


def test_wrong_password(document: dict[str, Any]) -> None:
    with pytest.raises(PasswordError, match=r"^incorrect password$"):
        keystore.decrypt(document, Secret("other"))


def test_password_is_normalised(document: dict[str, Any]) -> None:
    del document
    composed = keystore.encrypt(Wallet.from_hex(KEY), Secret("caf\u00e9"))
    assert keystore.decrypt(composed, Secret("cafe\u0301"))


def with_crypto(document: dict[str, Any], **members: object) -> dict[str, Any]:
    return {**document, "Crypto": {**document["Crypto"], **members}}


def with_kdf(document: dict[str, Any], **members: object) -> dict[str, Any]:
    return with_crypto(document, kdfparams={**document["Crypto"]["kdfparams"], **members})


@pytest.mark.parametrize(
    "change",
    {
        "version 1": lambda d: {**d, "version": 1},
        "no crypto": lambda d: {k: v for k, v in d.items() if k != "Crypto"},
        "no object": lambda d: [d],
        "another cipher": lambda d: with_crypto(d, cipher="aes-128-cbc"),
        "another kdf": lambda d: with_crypto(d, kdf="argon2"),
        "no mac": lambda d: with_crypto(d, mac=None),
        "short ciphertext": lambda d: with_crypto(d, ciphertext="00"),
        "memory bomb": lambda d: with_kdf(d, n=1 << 30),
        "n no power of two": lambda d: with_kdf(d, n=131_071),
        "r zero": lambda d: with_kdf(d, r=0),
        "p bomb": lambda d: with_kdf(d, p=1 << 20),
        "dklen": lambda d: with_kdf(d, dklen=16),
        "salt not hex": lambda d: with_kdf(d, salt="zz"),
        "rounds bomb": lambda d: with_crypto(
            d, kdf="pbkdf2", kdfparams={"salt": "00", "dklen": 32, "c": 10**9, "prf": "hmac-sha256"}
        ),
        "another prf": lambda d: with_crypto(
            d, kdf="pbkdf2", kdfparams={"salt": "00", "dklen": 32, "c": 10, "prf": "hmac-sha1"}
        ),
        "another account": lambda d: {**d, "address": "00" * 20},
    }.values(),
)
def test_what_is_no_keystore_is_refused(document: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(KeystoreError):
        keystore.decrypt(change(document), PASSWORD)


def test_file_name() -> None:
    address = Wallet.from_hex(KEY).address
    moment = datetime(2026, 11, 22, 12, 4, 5, 67_890, tzinfo=UTC)
    expected = f"UTC--2026-11-22T12-04-05.067000000Z--{address[2:]}"
    assert keystore.file_name(address, moment) == expected
    assert keystore.file_name(address, moment.astimezone(timezone(timedelta(hours=5)))) == expected


@pytest.mark.parametrize(
    ("platform", "folder"),
    [
        ("linux", ".ethereum/keystore"),
        ("darwin", "Library/Ethereum/keystore"),
        ("win32", "AppData/Roaming/Ethereum/keystore"),
    ],
)
def test_default_folder(platform: str, folder: str) -> None:
    assert keystore.default_dir(Path("/h"), platform) == Path("/h") / folder
