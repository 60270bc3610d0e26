"""Digests, ``computed.json`` and the archive (SMS reference 7.2, 8.1, 8.2, 10.1)."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from adyton.base.types import Address, Bytes32, parse_address, to_hex, word_bytes
from adyton.chain.hashing import contribution_message
from adyton.chain.wallet import Wallet
from adyton.compute.archive import ArchiveError, FileNameTooLongError, check_names, pack
from adyton.compute.computed import MAX_BYTES, ComputedFile, ComputedFileError
from adyton.compute.digest import DigestError, callback_digest, path_digest, result_digest
from adyton.compute.wire import stage_message

TASK = Bytes32("0x" + "11" * 32)
WORKER = parse_address("0x87ae2b87b5db23830572988fb1f51242fbc471ce")
TEE_KEY = "0xdd3b993ec21c71c1f6d63a5240850e0d4d8dd83ff70d29e49247958548c1d479"


def test_callback_digest_vector() -> None:
    assert callback_digest("0x" + "00" * 31 + "01") == (
        "0xb10e2d527612073b26eecdfd717e6a320cf44b4afac2b0732d9fcbe2b7fa0cf6"
    )


@pytest.mark.parametrize("text", ["", "0x", "01", "0x1", "0xzz", "hello"])
def test_callback_data_must_be_hex(text: str) -> None:
    with pytest.raises(DigestError):
        callback_digest(text)


def test_folder_digest_vector(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content 1")
    (tmp_path / "b").write_text("content 2")
    assert path_digest(tmp_path) == "0x72c4f24e985ca67e658310fbbb4d408369cba553676d625cb5bf74391f22f010"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c").write_text("nothing")
    (tmp_path / "link").symlink_to("a")
    assert path_digest(tmp_path) == "0x72c4f24e985ca67e658310fbbb4d408369cba553676d625cb5bf74391f22f010"


def test_file_digest_is_sha256_also_of_nothing(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"Hello\n")
    assert path_digest(file) == "0x66a045b452102c59d840ec097d59d9467e13a3f34f6494e539ffd32c1bb35f18"
    file.write_bytes(b"")
    assert path_digest(file) == "0x" + hashlib.sha256().hexdigest()


def test_signatures_of_the_enclave_match_the_vectors() -> None:
    wallet = Wallet.from_hex(TEE_KEY)
    digest = Bytes32("0x66a045b452102c59d840ec097d59d9467e13a3f34f6494e539ffd32c1bb35f18")
    message = contribution_message(TASK, WORKER, digest)
    assert message == "0xb54c9017c5ed5c4810162a60548db9538e5d14152b8d9127454995229b73e2b6"
    assert to_hex(wallet.sign_personal(word_bytes(message))) == (
        "0xceff8fe8020f761bf337474a2c95aadb37fb64d0b76a7e310adcd02754bb7064"
        "41c6380551f56cc8915ae1b4eb805060ba6888a174ac1072f2bae534b0d281751b"
    )
    call = stage_message(TASK, WORKER)
    assert call == "0xa2103d824829d02b91bb27bed19bb9d30e209469bdf3962a2284be28618f64f1"
    assert to_hex(wallet.sign_personal(word_bytes(call))) == (
        "0xc049adee011d3d2f9f49ebfb566af09d2e02afc70ab253e93023951b468d72a0"
        "09dedcb6e79084f3608260a2d787554d814079e085599c96b0598ef27e0b8b9e1c"
    )


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "result.txt",
        "/iexec_out/../etc/passwd",
        "/iexec_out/link/passwd",
        "/iexec_out/none",
        "/iexec_outside",
    ],
)
def test_deterministic_path_must_be_inside(tmp_path: Path, path: str) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(DigestError):
        result_digest(ComputedFile(deterministic_output_path=path), tmp_path, callback=False)


def test_result_digest_of_path_and_callback(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"Hello\n")
    computed = ComputedFile(deterministic_output_path="/iexec_out/r", callback_data="0x" + "00" * 31 + "01")
    assert result_digest(computed, tmp_path, callback=False).startswith("0x66a045")
    assert result_digest(computed, tmp_path, callback=True).startswith("0xb10e2d")
    with pytest.raises(DigestError):
        result_digest(ComputedFile(deterministic_output_path="/iexec_out/r"), tmp_path, callback=True)


def test_empty_folder_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(DigestError):
        path_digest(tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'"x"', b"{", b'{"callback-data": 5}', b'{"task-id": ["x"]}', b"\xff", b"[" * 100_000]
)
def test_computed_file_refuses(data: bytes) -> None:
    with pytest.raises(ComputedFileError):
        ComputedFile.parse(data)


def test_computed_file_ignores_unknown_keys_and_round_trips() -> None:
    computed = ComputedFile.parse(b'{"deterministic-output-path":"/iexec_out","x":1,"callback-data":null}')
    assert computed == ComputedFile(deterministic_output_path="/iexec_out")
    completed = computed.completed(TASK, Bytes32("0x" + "22" * 32), "0x33")
    assert completed.to_json() == {
        "deterministic-output-path": "/iexec_out",
        "task-id": TASK,
        "result-digest": "0x" + "22" * 32,
        "enclave-signature": "0x33",
    }
    with pytest.raises(ComputedFileError):
        ComputedFile.parse(b" " * (MAX_BYTES + 1))


def test_computed_file_must_be_a_regular_file(tmp_path: Path) -> None:
    with pytest.raises(ComputedFileError):
        ComputedFile.read(tmp_path)
    (tmp_path / "other").write_text("{}")
    (tmp_path / "computed.json").symlink_to("other")
    with pytest.raises(ComputedFileError):
        ComputedFile.read(tmp_path)


def test_archive_keeps_nested_files_and_skips_links(tmp_path: Path) -> None:
    results = tmp_path / "out"
    (results / "deep").mkdir(parents=True)
    (results / "deep" / "b.txt").write_text("b")
    (results / "a.txt").write_text("a")
    (results / "link").symlink_to("a.txt")
    (results / "folder-link").symlink_to("deep")
    pack(results, tmp_path / "one.zip")
    pack(results, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as bundle:
        assert bundle.namelist() == ["a.txt", "deep/b.txt"]
        assert bundle.testzip() is None
    with pytest.raises(ArchiveError):
        pack(tmp_path / "missing", tmp_path / "three.zip")


@pytest.mark.parametrize(
    ("name", "allowed"), [("x" * 31, True), ("x" * 32, False), ("é" * 15, True), ("é" * 16, False)]
)
def test_name_limit_is_31_bytes(tmp_path: Path, name: str, allowed: bool) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / name).write_text("")
    if allowed:
        check_names(tmp_path)
    else:
        with pytest.raises(FileNameTooLongError):
            check_names(tmp_path)


def test_worker_is_part_of_the_stage_message() -> None:
    assert stage_message(TASK, WORKER) != stage_message(TASK, Address("0x" + "00" * 20))
