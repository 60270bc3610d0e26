"""Commands that need no network: files byte for byte, wallets, keys, datasets, and their errors."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Iexec

KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # published test key
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
ZERO = "0x" + "00" * 20


@pytest.fixture
def with_wallet(iexec: Iexec, project: Path) -> Iexec:  # noqa: ARG001  # only its effect
    assert iexec("init --raw --skip-wallet").status == 0
    assert iexec(f"wallet import {KEY} --unencrypted --raw").status == 0
    return iexec


def test_init_writes_the_project(iexec: Iexec, project: Path) -> None:
    ran = iexec("init --raw --skip-wallet")
    assert ran.out == '{"ok":true,"configFile":"iexec.json","chainConfigFile":"chain.json"}\n'
    assert (ran.status, ran.err) == (0, "")
    assert (project / "chain.json").read_text() == (
        '{\n  "default": "arbitrum-sepolia-testnet",\n  "chains": {\n    "mainnet": {},\n    "bellecour": {},\n'
        '    "arbitrum-mainnet": {},\n    "arbitrum-sepolia-testnet": {}\n  }\n}'
    )
    document = json.loads((project / "iexec.json").read_text())
    assert list(document) == ["description", "license", "author", "social", "logo"]
    assert len(document["description"]) >= 150
    assert (project / "iexec.json").read_text() == json.dumps(document, indent=2)


def test_init_makes_an_encrypted_wallet_in_the_global_folder(iexec: Iexec, tmp_path: Path) -> None:
    raw = iexec("init --raw --password secret").raw
    file = Path(raw["walletFile"])
    assert list(raw) == ["ok", "walletAddress", "walletFile", "configFile", "chainConfigFile"]
    assert file.parent == tmp_path / "home/.ethereum/keystore"
    assert file.name.startswith("UTC--")
    assert file.name.endswith(f"000000Z--{raw['walletAddress'][2:]}")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "secret" not in file.read_text()


def test_init_asks_before_replacing_and_keeps_what_is_declined(iexec: Iexec, project: Path) -> None:
    (project / "iexec.json").write_text("{}")
    ran = iexec("init --skip-wallet", stdin="n\n")
    assert ran.status == 0
    assert (project / "iexec.json").read_text() == "{}"
    assert iexec("init --raw --skip-wallet").status == 0
    assert (project / "iexec.json").read_text() != "{}"


def test_wallet_create_unencrypted(iexec: Iexec, project: Path) -> None:
    ran = iexec("wallet create --unencrypted --raw")
    assert list(ran.raw) == ["ok", "wallet", "fileName", "address"]
    assert list(ran.raw["wallet"]) == ["privateKey", "publicKey", "address"]
    assert ran.raw["fileName"] == "wallet.json"
    assert (project / "wallet.json").read_text() == json.dumps(ran.raw["wallet"], indent=2)
    assert (project / "wallet.json").stat().st_mode & 0o777 == 0o600


def test_wallet_create_asks_before_replacing(with_wallet: Iexec, project: Path) -> None:
    before = (project / "wallet.json").read_text()
    ran = with_wallet("wallet create --unencrypted --raw")
    assert ran.status == 1
    assert json.loads(ran.err)["error"] == {
        "name": "ExitPromptError",
        "message": "User force closed the prompt with 0 null",
    }
    declined = with_wallet("wallet create --unencrypted --raw", stdin="n\n")
    assert json.loads(declined.err)["error"]["message"] == "Operation aborted by user."
    assert (project / "wallet.json").read_text() == before
    assert with_wallet("wallet create --unencrypted --raw", stdin="\n").status == 0
    assert (project / "wallet.json").read_text() != before


def test_wallet_create_asks_for_a_password_twice(iexec: Iexec) -> None:
    mismatch = iexec("wallet create --keystoredir ks --raw", stdin="a\nb\n")
    assert json.loads(mismatch.err)["error"]["message"] == "Password mismatch"
    assert iexec("wallet create --keystoredir ks", stdin="a\na\n").status == 0
    closed = iexec("wallet create --raw --force")
    assert json.loads(closed.err)["error"]["name"] == "ExitPromptError"


def test_a_password_beats_unencrypted(iexec: Iexec, project: Path) -> None:
    raw = iexec("wallet create --unencrypted --password secret --keystoredir ks --raw").raw
    assert raw["fileName"].startswith("ks/UTC--")
    assert not (project / "wallet.json").exists()


@pytest.mark.usefixtures("project")
def test_wallet_import(iexec: Iexec) -> None:
    raw = iexec(f"wallet import {KEY} --unencrypted --raw").raw
    assert raw["address"] == ADDRESS
    assert raw["wallet"]["publicKey"].startswith("0x048318535b54105d4a7aae60c08fc45f9687181b4f")
    for bad in ("0x1234", "zz" * 32, "00" * 32):
        ran = iexec(f"wallet import {bad} --unencrypted --force --raw")
        assert ran.status == 1
        assert bad not in ran.out + ran.err


def test_encrypted_wallet_needs_its_password(iexec: Iexec, project: Path) -> None:
    assert iexec("init --raw --skip-wallet").status == 0
    assert iexec(f"wallet import {KEY} --password secret --keystoredir local --raw").status == 0
    (project / "chain.json").write_text('{"default":"bellecour","chains":{"bellecour":{"host":"http://127.0.0.1:9"}}}')
    wrong = iexec("account deposit 1 --keystoredir local --password nope --raw")
    assert wrong.error == ("Error", "incorrect password")
    assert iexec("app init --keystoredir local --raw").raw["app"]["owner"] == ADDRESS


def test_missing_wallets(iexec: Iexec, project: Path) -> None:
    assert iexec("init --raw --skip-wallet").status == 0
    (project / "chain.json").write_text('{"default":"bellecour","chains":{"bellecour":{"host":"http://127.0.0.1:9"}}}')
    name, message = iexec("account deposit 1 --raw").error
    assert message.startswith(
        "Missing option --wallet-address <walletAddress> or --wallet-file <walletFileName> and no wallet.json"
    )
    for command in (
        "wallet show",
        "account show",
        "wallet show --wallet-file nope",
        "account show --wallet-address 0x1",
    ):
        assert iexec(f"{command} --raw").error == (
            "Error",
            "Failed to load wallet address from keystore: Wallet file not found",
        )
    assert name == "Error"


def test_templates_without_a_wallet(iexec: Iexec, project: Path) -> None:
    assert iexec("init --raw --skip-wallet").status == 0
    (project / "empty").mkdir()
    assert iexec("app init --raw").raw["app"]["owner"] == ZERO
    assert "owner" not in iexec("app init --keystoredir empty --raw").raw["app"]


@pytest.mark.parametrize(
    ("options", "name", "keys"),
    [
        ("", "hello-world", ["owner", "name", "type", "multiaddr", "checksum"]),
        ("--tee-framework tdx", "hello-world", ["owner", "name", "type", "multiaddr", "checksum"]),
        ("--tee", "hello-world-scone", ["owner", "name", "type", "multiaddr", "checksum", "mrenclave"]),
        (
            "--tee-framework gramine",
            "hello-world-gramine",
            ["owner", "name", "type", "multiaddr", "checksum", "mrenclave"],
        ),
    ],
)
def test_app_init(with_wallet: Iexec, project: Path, options: str, name: str, keys: list[str]) -> None:
    app = with_wallet(f"app init {options} --raw").raw["app"]
    assert app["name"] == name
    assert list(app) == keys
    document = json.loads((project / "iexec.json").read_text())
    assert list(document)[-2:] == ["buyConf", "app"]
    assert document["app"] == app


def test_app_init_takes_the_default_chains_framework(with_wallet: Iexec, project: Path) -> None:
    chains = {"default": "bellecour", "chains": {"bellecour": {"defaultTeeFramework": "gramine"}}}
    (project / "chain.json").write_text(json.dumps(chains))
    assert with_wallet("app init --tee --raw").raw["app"]["name"] == "hello-world-gramine"


def test_init_commands_need_a_project(iexec: Iexec) -> None:
    message = 'Missing "iexec.json" file, did you forget to run "iexec init"?'
    for command in ("app init", "dataset init", "workerpool init", "category init"):
        assert iexec(f"{command} --raw").error == ("Error", message)


def test_order_init(with_wallet: Iexec, project: Path) -> None:
    raw = with_wallet("order init --raw --chain bellecour").raw
    assert list(raw) == ["ok", "apporder", "datasetorder", "workerpoolorder", "requestorder"]
    assert list(raw["workerpoolorder"]) == [
        *("workerpool", "workerpoolprice", "volume", "category", "trust", "tag"),
        *("apprestrict", "datasetrestrict", "requesterrestrict"),
    ]
    assert raw["requestorder"]["requester"] == raw["requestorder"]["beneficiary"] == ADDRESS
    (project / "deployed.json").write_text(json.dumps({"app": {"134": ADDRESS}}))
    assert list(with_wallet("order init --app --raw --chain bellecour").raw) == ["ok", "apporder"]
    orders = json.loads((project / "iexec.json").read_text())["order"]
    assert orders["apporder"]["app"] == ADDRESS
    assert orders["requestorder"] == raw["requestorder"]


def test_dataset_encrypt(iexec: Iexec, project: Path) -> None:
    assert iexec("init --raw --skip-wallet").status == 0
    assert iexec("dataset encrypt --raw").status == 1
    assert iexec("dataset init --encrypted --raw").status == 0
    assert "nothing to encrypt" in iexec("dataset encrypt --raw").error[1]
    for name in ("a.txt", "b.txt"):
        (project / "datasets/original" / name).write_text(f"content of {name}")
    (project / "datasets/original/folder").mkdir()
    raw = iexec("dataset encrypt --raw --force").raw
    assert [Path(file["original"]).name for file in raw["encryptedFiles"]] == ["a.txt", "b.txt"]
    last = (project / ".secrets/datasets/b.txt.key").read_text()
    assert (project / ".secrets/datasets/dataset.key").read_text() == last
    for file in raw["encryptedFiles"]:
        data = Path(file["encrypted"]).read_bytes()
        assert file["checksum"] == "0x" + hashlib.sha256(data).hexdigest()
        assert Path(file["key"]).stat().st_mode & 0o777 == 0o600
    closed = iexec("dataset encrypt --raw")
    assert json.loads(closed.err)["error"]["name"] == "ExitPromptError"
    assert (project / ".secrets/datasets/dataset.key").read_text() == last


def test_result_keys_and_decryption(with_wallet: Iexec, project: Path) -> None:
    from adyton.compute.encryption import encrypt_result  # noqa: PLC0415  # slow to load

    raw = with_wallet("result generate-encryption-keypair --raw").raw
    folder = project / ".secrets/beneficiary"
    assert raw == {
        "ok": True,
        "secretPath": str(folder),
        "privateKeyFile": f"{ADDRESS}_key",
        "publicKeyFile": f"{ADDRESS}_key.pub",
    }
    private, public = folder / f"{ADDRESS}_key", folder / f"{ADDRESS}_key.pub"
    assert private.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert public.read_bytes().startswith(b"-----BEGIN PUBLIC KEY-----")
    assert private.stat().st_mode & 0o777 == 0o600
    (project / "encryptedResults.zip").write_bytes(encrypt_result(b"PK\x03\x04 inner", public.read_bytes()))
    assert with_wallet("result decrypt --raw").raw == {"ok": True, "resultsPath": str(project / "results.zip")}
    assert (project / "results.zip").read_bytes() == b"PK\x03\x04 inner"
    before = private.read_bytes()
    refused = with_wallet("result generate-keys --raw")
    assert json.loads(refused.err)["command"] == "iexec result generate-keys"
    assert private.read_bytes() == before
    assert with_wallet("result generate-keys --raw --force").status == 0
    assert with_wallet("result decrypt --raw --force").error[1] == "Failed to decrypt results key with beneficiary key"
    (project / "encryptedResults.zip").unlink()
    source = project / "encryptedResults.zip"
    assert with_wallet("result decrypt --raw").error[1] == f"ENOENT: no such file or directory, open '{source}'"


def test_nothing_selected(with_wallet: Iexec) -> None:
    message = "No option specified, you should choose one (--app | --dataset | --workerpool | --request)"
    for verb in ("publish", "unpublish", "cancel", "show"):
        assert with_wallet(f"order {verb} --raw").error == ("Error", message)


def test_gas_price_is_checked_first(with_wallet: Iexec) -> None:
    for words in ("-1", "0.1 wei", "1 ethereum"):
        ran = with_wallet(f"account deposit 5 --gas-price {words} --raw")
        assert ran.error == ("ValidationError", f"{words} is not a valid amount")
    assert with_wallet("account deposit abc --raw").error == ("ValidationError", "abc  is not a valid amount")
    assert with_wallet("account deposit 5 --confirms 0 --raw").error[0] == "ValidationError"


def test_human_output_goes_to_standard_error(with_wallet: Iexec) -> None:
    ran = with_wallet("workerpool init")
    assert (ran.status, ran.out) == (0, "")
    assert "my-workerpool" in ran.err
    assert "next: iexec workerpool deploy" in ran.err
    failed = with_wallet("result decrypt")
    assert (failed.status, failed.out) == (1, "\n")
    assert failed.err.startswith('Command "iexec result decrypt" failed with Error: ENOENT')


def test_help_is_light() -> None:
    """The top level's help loads no verb and none of the heavy libraries."""
    code = (
        "import sys; from adyton.cli.iexec.main import main; main(['--help']);"
        "heavy = set('httpx2 cryptography coincurve eth_abi pydantic rich sqlalchemy'.split()) & set(sys.modules);"
        "verbs = [name for name in sys.modules if name.startswith('adyton.cli.iexec.app')];"
        "assert not heavy and not verbs, (heavy, verbs)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
