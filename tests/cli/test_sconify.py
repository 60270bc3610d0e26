"""``sconify_iexec`` as a command: what is on which stream, signer keys, and dates."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from tests.enclave.handmade import signer

from adyton.cli import sconify
from adyton.content.oci import ImageConfig, TarEntry, deterministic_tar, write_layout
from adyton.enclave.image import EnclaveImage
from adyton.enclave.sigstruct import mrsigner

_SCONIFY = Path(sys.executable).parent / "sconify_iexec"
_PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("native")
    layer = deterministic_tar([TarEntry("bin/run", content=b"#!/bin/sh\n", executable=True)])
    write_layout(folder, [layer], ImageConfig(entrypoint=("/bin/run",)))
    return folder


@pytest.fixture
def call(native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command's necessary options."""
    monkeypatch.delenv("SCONE_HASH", raising=False)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    return ["--name=demo", f"--from={native}", f"--to={tmp_path / 'out'}"]


def _pem(folder: Path, passphrase: str = "", mode: int = 0o600) -> Path:
    file = folder / "key.pem"
    protection = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    file.write_bytes(signer().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, protection))
    file.chmod(mode)
    return file


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("option", [True, False], ids=["--hash", "SCONE_HASH=1"])
def test_the_fingerprint_alone_is_on_standard_output(
    call: list[str], tmp_path: Path, signed: bool, option: bool
) -> None:
    words = [f"--scone-signer={_pem(tmp_path)}"] if signed else []
    words += ["--hash"] if option else []
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "")}
    environment |= {} if option else {"SCONE_HASH": "1"}
    done = subprocess.run(
        [_SCONIFY, *call, *words, "--verbose"], env=environment, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"[0-9a-f]{64}\n", done.stdout)
    assert done.stdout.strip() == EnclaveImage.load(tmp_path / "out").mrenclave.hex()
    assert ("DEBUG ENCLAVE" in done.stderr) is not signed


@pytest.mark.parametrize("value", ["0", "true"])
def test_only_1_asks_for_the_fingerprint(
    call: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SCONE_HASH", value)
    assert sconify.main(call) == 0
    assert capsys.readouterr().out.startswith("image      ")


def test_a_refusal_puts_nothing_on_standard_output(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert sconify.main([*call, "--hash", "--scone-signer=/no/such/key"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "openssl genrsa -3 -out signer-key.pem 3072" in captured.err
    assert "openssl genrsa -3 -aes256 -out signer-key.pem 3072" in captured.err


def test_an_encrypted_key_and_its_passphrase_file(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = _pem(tmp_path, _PASSPHRASE)
    (tmp_path / "passphrase").write_text(_PASSPHRASE)
    (tmp_path / "passphrase").chmod(0o600)
    words = [*call, f"--scone-signer={key}", f"--passphrase-file={tmp_path / 'passphrase'}"]
    assert sconify.main([*words, "--date=2026-11-22"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    image = EnclaveImage.load(tmp_path / "out")
    assert image.sigstruct.mrsigner == mrsigner(signer())
    assert str(image.sigstruct.signed_on) == "2026-11-22"
    (tmp_path / "passphrase").chmod(0o644)
    assert sconify.main(words) == 1
    assert "signing.passphrase.exposed" in capsys.readouterr().err


def test_an_encrypted_key_without_terminal_is_refused(call: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [_SCONIFY, *call, f"--scone-signer={_pem(tmp_path, _PASSPHRASE)}"],
        env=os.environ | {"PASSWORD": _PASSPHRASE},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "--passphrase-file FILE" in done.stderr


def test_the_passphrase_is_asked_for_on_a_terminal(call: list[str], tmp_path: Path) -> None:
    master, slave = os.openpty()
    key = _pem(tmp_path, _PASSPHRASE)
    with subprocess.Popen(
        [_SCONIFY, *call, f"--scone-signer={key}"],
        stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        said = b""
        while f"Passphrase of {key}: ".encode() not in said:
            piece = os.read(process.stderr.fileno(), 4096)
            assert piece, said
            said += piece
        os.write(master, f"{_PASSPHRASE}\n".encode())
        out, err = process.communicate(timeout=60)
    os.close(master)
    os.close(slave)
    assert process.returncode == 0, err
    assert b"Passphrase" not in out
    assert EnclaveImage.load(tmp_path / "out").sigstruct.mrsigner == mrsigner(signer())


def test_a_passphrase_file_without_a_key_is_refused(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sconify.main([*call, f"--passphrase-file={tmp_path / 'passphrase'}"]) == 1
    assert "--scone-signer" in capsys.readouterr().err


def test_an_exposed_key_is_warned_of_on_standard_error(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sconify.main([*call, "--hash", f"--scone-signer={_pem(tmp_path, mode=0o644)}"]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("warning: others can read the signer key")
    assert re.fullmatch(r"[0-9a-f]{64}\n", captured.out)


def test_another_kind_of_key_is_named(call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    file = tmp_path / "ec.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)
    assert sconify.main([*call, f"--scone-signer={file}"]) == 1
    err = capsys.readouterr().err
    assert "an elliptic curve key (secp384r1), not RSA" in err
    assert "openssl genrsa -3 -out signer-key.pem 3072" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--command=run 'it",), "enclave.build.command"),
        (("--command=run \\",), "enclave.build.command"),
        (("--to=/dev/null",), "content.file"),
        (("--to=/proc/none",), "content.file"),
        (("--env=A",), "sconify.pair"),
        (("--heap=much",), "sconify.size"),
        (("--host-path=/bin/",), "enclave.manifest.invalid"),
        (("--isvsvn=65536",), "enclave.manifest.invalid"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    call: list[str], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: str
) -> None:
    assert sconify.main([*call, *words]) == 1
    captured = capsys.readouterr()
    assert captured.err.endswith(f"({code})\n")
    assert captured.out == ""


@pytest.mark.parametrize("words", [("--date=tomorrow",), ("--date=2026-13-01",)])
def test_a_day_that_is_none(call: list[str], capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert sconify.main([*call, *words]) == 1
    assert "signing.date" in capsys.readouterr().err
