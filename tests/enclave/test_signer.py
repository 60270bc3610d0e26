"""Signer keys: which files are one, and what is said of those that are not. Made by openssl and by ``cryptography``."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from tests.enclave.handmade import signer

from adyton.base.secret import Secret
from adyton.enclave.errors import SignerKeyError
from adyton.enclave.signer import MAX_FILE_BYTES, SignerFile, load_signer, mrsigner, new_signer_pem

_PASSPHRASE = "correct horse ü"
_REMEDY = "openssl genrsa -3 -out signer-key.pem 3072"
_REMEDY_ENCRYPTED = "openssl genrsa -3 -aes256 -out signer-key.pem 3072"


def pem(
    key: PrivateKeyTypes,
    form: PrivateFormat = PrivateFormat.PKCS8,
    protection: KeySerializationEncryption | None = None,
    encoding: Encoding = Encoding.PEM,
) -> bytes:
    return key.private_bytes(encoding, form, protection or NoEncryption())


def protected() -> KeySerializationEncryption:
    return BestAvailableEncryption(_PASSPHRASE.encode())


def written(folder: Path, content: bytes) -> Path:
    file = folder / "key.pem"
    file.write_bytes(content)
    file.chmod(0o600)
    return file


@pytest.fixture
def openssl(tmp_path: Path) -> Callable[..., bytes]:
    """Run openssl in a folder and return what it wrote to ``out.pem``."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("the openssl program is missing")

    def run(*words: str) -> bytes:
        subprocess.run([program, *words], cwd=tmp_path, check=True, capture_output=True)
        return (tmp_path / "out.pem").read_bytes()

    return run


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS#8", "PKCS#1"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_keys_of_cryptography(tmp_path: Path, form: PrivateFormat, encrypted: bool) -> None:
    file = written(tmp_path, pem(signer(), form, protected() if encrypted else None))
    assert SignerFile.read(file).encrypted is encrypted
    assert mrsigner(load_signer(file, Secret(_PASSPHRASE) if encrypted else None)) == mrsigner(signer())


@pytest.mark.parametrize(
    ("words", "encrypted"),
    [
        pytest.param(("genrsa", "-3", "-out", "out.pem", "3072"), False, id="genrsa"),
        pytest.param(("genrsa", "-3", "-traditional", "-out", "out.pem", "3072"), False, id="genrsa, PKCS#1"),
        pytest.param(
            ("genrsa", "-3", "-aes256", "-passout", f"pass:{_PASSPHRASE}", "-out", "out.pem", "3072"),
            True, id="genrsa, encrypted PKCS#8",
        ),
        pytest.param(
            ("genrsa", "-3", "-aes256", "-traditional", "-passout", f"pass:{_PASSPHRASE}", "-out", "out.pem", "3072"),
            True, id="genrsa, encrypted PKCS#1",
        ),
        pytest.param(
            ("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-pkeyopt", "rsa_keygen_pubexp:3",
             "-out", "out.pem"),
            False, id="genpkey",
        ),
    ],
)  # fmt: skip
def test_keys_of_openssl(
    tmp_path: Path, openssl: Callable[..., bytes], words: tuple[str, ...], encrypted: bool
) -> None:
    file = written(tmp_path, openssl(*words))
    assert SignerFile.read(file).encrypted is encrypted
    assert load_signer(file, Secret(_PASSPHRASE) if encrypted else None).public_key().public_numbers().e == 3


def test_new_keys_open_in_openssl(tmp_path: Path, openssl: Callable[..., bytes]) -> None:
    written(tmp_path, new_signer_pem(Secret(_PASSPHRASE)))
    text = openssl("rsa", "-in", "key.pem", "-passin", f"pass:{_PASSPHRASE}", "-noout", "-text", "-out", "out.pem")
    assert b"3072 bit" in text
    assert b"publicExponent: 3 (0x3)" in text


def test_the_exponent_3_is_what_cryptography_still_makes_and_keeps() -> None:
    key = load_pem_private_key(new_signer_pem(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert (key.public_key().public_numbers().e, key.key_size) == (3, 3072)


def _rsa(bits: int, exponent: int) -> bytes:
    return pem(rsa.generate_private_key(public_exponent=exponent, key_size=bits))


_OTHERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "RSA-2048, e=65537": (lambda: _rsa(2048, 65537), "RSA-2048 with exponent 65537"),
    "RSA-2048, e=3": (lambda: _rsa(2048, 3), "RSA-2048 with exponent 3"),
    "RSA-4096, e=3": (lambda: _rsa(4096, 3), "RSA-4096 with exponent 3"),
    "RSA-3072, e=65537": (lambda: _rsa(3072, 65537), "RSA-3072 with exponent 65537"),
    "EC": (lambda: pem(ec.generate_private_key(ec.SECP256R1())), "an elliptic curve key (secp256r1)"),
    "EC, SEC1": (
        lambda: pem(ec.generate_private_key(ec.SECP256R1()), PrivateFormat.TraditionalOpenSSL), "an elliptic curve key",
    ),
    "EC, encrypted SEC1": (
        lambda: pem(ec.generate_private_key(ec.SECP256R1()), PrivateFormat.TraditionalOpenSSL, protected()),
        "an elliptic curve key",
    ),
    "Ed25519": (lambda: pem(ed25519.Ed25519PrivateKey.generate()), "an Ed25519 key"),
    "Ed448": (lambda: pem(ed448.Ed448PrivateKey.generate()), "an Ed448 key"),
    "X25519": (lambda: pem(x25519.X25519PrivateKey.generate()), "an X25519 key"),
    "X448": (lambda: pem(x448.X448PrivateKey.generate()), "an X448 key"),
    "DSA": (lambda: pem(dsa.generate_private_key(2048)), "a DSA key"),
    "public key": (
        lambda: signer().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "a public key only",
    ),
    "public key, PKCS#1": (
        lambda: signer().public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1), "a public key only",
    ),
    "SSH public key": (
        lambda: signer().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH), "an SSH public key",
    ),
    "certificate": (
        lambda: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "a certificate",
    ),
    "certificate request": (
        lambda: b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "a certificate request",
    ),
    "unknown PEM": (lambda: b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n", "PEM of type PKCS7"),
    "OpenSSH": (lambda: pem(signer(), PrivateFormat.OpenSSH), "OpenSSH's own format"),
    "DER, PKCS#8": (lambda: pem(signer(), encoding=Encoding.DER), "DER, not PEM"),
    "DER, PKCS#1": (lambda: pem(signer(), PrivateFormat.TraditionalOpenSSL, encoding=Encoding.DER), "DER, not PEM"),
    "DER, encrypted": (lambda: pem(signer(), PrivateFormat.PKCS8, protected(), Encoding.DER), "DER, not PEM"),
    "empty": (lambda: b"", "empty"),
    "text": (lambda: b"hello\n", "not PEM"),
    "binary": (lambda: bytes(range(256)), "not PEM"),
    "two keys": (lambda: pem(signer()) * 2, "2 PEM blocks (PRIVATE KEY, PRIVATE KEY)"),
    "key and certificate": (
        lambda: pem(signer()) + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "2 PEM blocks (PRIVATE KEY, CERTIFICATE)",
    ),
    "huge": (lambda: pem(signer()) + b"\n" * MAX_FILE_BYTES, f"larger than {MAX_FILE_BYTES}"),
    "no base64": (lambda: b"-----BEGIN PRIVATE KEY-----\n???\n-----END PRIVATE KEY-----\n", "damaged"),
    "no key inside": (lambda: b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
    "no end line": (lambda: pem(signer()).partition(b"-----END")[0], "damaged"),
    "half a key": (
        lambda: b"\n".join(pem(signer()).splitlines()[:10] + pem(signer()).splitlines()[-1:]), "damaged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", _OTHERS, ids=str)
def test_other_files_are_named_with_the_openssl_lines(case: str, tmp_path: Path) -> None:
    make, named = _OTHERS[case]
    file = written(tmp_path, make())
    with pytest.raises(SignerKeyError) as caught:
        load_signer(file)
    assert named in caught.value.message
    assert (caught.value.code, _REMEDY in caught.value.hint) == ("enclave.signer.key", True)
    assert _REMEDY_ENCRYPTED in caught.value.hint
    body = file.read_bytes().splitlines()[1:2]
    assert not any(line.decode(errors="replace") in f"{caught.value} {caught.value.hint}" for line in body if line)


@pytest.mark.parametrize("kind", ["missing", "folder", "below a file", "link to itself"])
def test_files_that_cannot_be_read_are_named(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    if kind == "folder":
        file.mkdir()
    elif kind == "below a file":
        file.touch()
        file /= "key.pem"
    elif kind == "link to itself":
        file.symlink_to(file.name)
    with pytest.raises(SignerKeyError, match=r"cannot read the signer key .*key\.pem: [A-Z]") as caught:
        load_signer(file)
    assert _REMEDY in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="needs a user whom file modes bind; root reads every file")
def test_a_file_of_others_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, pem(signer()))
    file.chmod(0)
    with pytest.raises(SignerKeyError, match="Permission denied"):
        load_signer(file)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS#8", "PKCS#1"])
@pytest.mark.parametrize(
    ("passphrase", "said"),
    [
        (None, "is encrypted and no passphrase was given"), ("", "is encrypted and no passphrase was given"),
        ("wrong", "does not open with this passphrase"), (_PASSPHRASE + " ", "does not open with this passphrase"),
    ],
)  # fmt: skip
def test_missing_and_wrong_passphrases(tmp_path: Path, form: PrivateFormat, passphrase: str | None, said: str) -> None:
    file = written(tmp_path, pem(signer(), form, protected()))
    with pytest.raises(SignerKeyError, match=said) as caught:
        load_signer(file, None if passphrase is None else Secret(passphrase))
    assert caught.value.code == "enclave.signer.passphrase"
    assert _PASSPHRASE not in f"{caught.value} {caught.value.hint}"


def test_a_passphrase_for_a_key_that_has_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SignerKeyError, match="is not encrypted") as caught:
        load_signer(written(tmp_path, pem(signer())), Secret("anything"))
    assert caught.value.code == "enclave.signer.passphrase"


def test_an_encrypted_key_of_another_kind_is_named_once_it_opens(tmp_path: Path) -> None:
    file = written(tmp_path, pem(ed25519.Ed25519PrivateKey.generate(), PrivateFormat.PKCS8, protected()))
    with pytest.raises(SignerKeyError, match="Ed25519"):
        load_signer(file, Secret(_PASSPHRASE))


@pytest.mark.parametrize(("mode", "exposed"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_who_else_can_read_the_file_is_known(tmp_path: Path, mode: int, exposed: bool) -> None:
    file = written(tmp_path, pem(signer()))
    file.chmod(mode)
    assert SignerFile.read(file).exposed is exposed


def test_the_key_does_not_show(tmp_path: Path) -> None:
    file = SignerFile.read(written(tmp_path, pem(signer())))
    assert "PRIVATE" not in repr(file)
