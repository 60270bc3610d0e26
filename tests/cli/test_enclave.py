"""``adyton enclave``: keys, signatures, inspection and comparison as a person sees them."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from tests.enclave.handmade import FILES, layout, manifest, signature, signer, trusted

from adyton.base.secret import Secret
from adyton.cli.adyton.main import main
from adyton.content.oci import read_layout, write_archive
from adyton.enclave.image import EnclaveImage
from adyton.enclave.sigstruct import load_signer, mrsigner

_ADYTON = Path(sys.executable).parent / "adyton"
_PASSPHRASE = "correct horse battery"


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``adyton enclave …`` in this process, without a terminal."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)

    def call(*words: object) -> Ran:
        with Path(os.devnull).open() as nothing:
            monkeypatch.setattr(sys, "stdin", nothing)
            with pytest.raises(SystemExit) as ended:
                main(["enclave", *map(str, words)])
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return call


def _pem(folder: Path, number: int = 1, *, passphrase: str = "", mode: int = 0o600) -> Path:
    file = folder / f"key-{number}-{len(passphrase)}.pem"
    protection = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    file.write_bytes(signer(number).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
    file.chmod(mode)
    return file


def _private(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    file = folder / "passphrase"
    file.write_bytes(content)
    file.chmod(mode)
    return file


class TestSign:
    def test_prints_where_what_and_who(self, run: Run, tmp_path: Path) -> None:
        folder = layout(tmp_path / "image")
        before = EnclaveImage.load(folder)
        done = run("sign", folder, "--key", _pem(tmp_path), "--date=2026-11-22")
        after = EnclaveImage.load(folder)
        assert (done.status, done.err) == (0, "")
        assert done.out == (
            f"image      {folder} (production)\ndigest     {after.digest}\n"
            f"mrenclave  {before.mrenclave.hex()}\nmrsigner   {mrsigner(signer(1)).hex()}\n"
        )
        assert str(after.sigstruct.signed_on) == "2026-11-22"

    def test_out_leaves_the_image_alone_and_takes_archives_and_tags(self, run: Run, tmp_path: Path) -> None:
        folder = layout(tmp_path / "image")
        before = read_layout(folder).digest
        write_archive(folder, tmp_path / "image.tar")
        done = run("sign", tmp_path / "image.tar", "--key", _pem(tmp_path), "--out", f"oci:{tmp_path}/out:1.0")
        assert done.status == 0, done.err
        assert EnclaveImage.load(tmp_path / "out", "1.0").sigstruct.mrsigner == mrsigner(signer(1))
        assert read_layout(folder).digest == before

    def test_out_is_another_place(self, run: Run, tmp_path: Path) -> None:
        """In place it takes care of other images in the layout; a layout that is written anew holds one."""
        folder = layout(tmp_path / "image")
        before = read_layout(folder).digest
        done = run("sign", folder, "--key", _pem(tmp_path), "--out", f"oci:{tmp_path}/./image:new")
        assert done.status == 1
        assert "(signing.out)" in done.err
        assert read_layout(folder).digest == before

    def test_source_date_epoch_and_date(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder, key = layout(tmp_path / "image"), _pem(tmp_path)
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "86399")
        run("sign", folder, "--key", key)
        assert str(EnclaveImage.load(folder).sigstruct.signed_on) == "1970-01-01"
        run("sign", folder, "--key", key, "--date", "2026-02-28")
        assert str(EnclaveImage.load(folder).sigstruct.signed_on) == "2026-02-28"

    def test_a_debug_image_is_not_signed_for_production(self, run: Run, tmp_path: Path) -> None:
        folder = layout(tmp_path / "image", manifest(debug=True))
        refused = run("sign", folder, "--key", _pem(tmp_path), "--production")
        assert (refused.status, refused.out) == (1, "")
        assert "enclave.sign.measured" in refused.err
        assert "--remeasure" in refused.err
        old = EnclaveImage.load(folder).mrenclave.hex()
        done = run("sign", folder, "--key", _pem(tmp_path), "--production", "--remeasure")
        assert done.status == 0
        assert done.err == f"MRENCLAVE changed: it was {old}\n"
        assert old not in done.out
        assert not EnclaveImage.load(folder).manifest.debug

    def test_a_file_name_that_steers_a_terminal_is_named_as_text(self, run: Run, tmp_path: Path) -> None:
        listed = {**FILES, "/bin/a\x1b[2J\nadyton: all is well": b"x"}
        folder = layout(tmp_path / "image", manifest(trusted_files=trusted(listed)))
        done = run("sign", folder, "--key", _pem(tmp_path))
        assert done.status == 1
        assert r"/bin/a\x1b[2J\nadyton: all is well is missing" in done.err
        assert "\x1b" not in done.err

    def test_a_debug_image_signed_as_such_is_announced(self, run: Run, tmp_path: Path) -> None:
        done = run("sign", layout(tmp_path / "image", manifest(debug=True)), "--key", _pem(tmp_path))
        assert done.status == 0
        assert "DEBUG ENCLAVE" in done.err
        assert "(debug)" in done.out

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            pytest.param(("--isvsvn=1",), "enclave.sign.measured", id="version"),
            pytest.param(("--isvprodid=1",), "enclave.sign.measured", id="product"),
            pytest.param(("--debug",), "enclave.sign.measured", id="debug"),
            pytest.param(("--isvsvn=65536", "--remeasure"), "65536", id="version beyond 16 bits"),
            pytest.param(("--date=22.11.2026",), "signing.date", id="date"),
            pytest.param(("--date=2026-02-30",), "signing.date", id="no such day"),
            pytest.param(("--key=/no/such/key",), "openssl genrsa -3 -out signer-key.pem 3072", id="no key"),
            pytest.param(("--out=/dev/null/x",), "content.file", id="place"),
        ],
    )
    def test_refusals(self, run: Run, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
        folder = layout(tmp_path / "image")
        before = read_layout(folder).digest
        key = () if words[0].startswith("--key") else ("--key", _pem(tmp_path))
        done = run("sign", folder, *key, *words)
        assert (done.status, done.out) == (1, "")
        assert said in done.err
        assert read_layout(folder).digest == before

    @pytest.mark.parametrize("epoch", ["yesterday", "1e9", "99999999999999999999"])
    def test_an_epoch_that_is_none(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: str) -> None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        done = run("sign", layout(tmp_path / "image"), "--key", _pem(tmp_path))
        assert done.status == 1
        assert "signing.date" in done.err

    def test_a_missing_key_option_is_usage(self, run: Run, tmp_path: Path) -> None:
        assert run("sign", tmp_path).status == 2


class TestPassphrase:
    def test_from_a_private_file(self, run: Run, tmp_path: Path) -> None:
        folder, key = layout(tmp_path / "image"), _pem(tmp_path, passphrase=_PASSPHRASE)
        for content in (f"{_PASSPHRASE}\n", _PASSPHRASE, f"{_PASSPHRASE}\r\nignored second line"):
            done = run("sign", folder, "--key", key, "--passphrase-file", _private(tmp_path, content.encode()))
            assert done.status == 0, done.err
            assert _PASSPHRASE not in done.out + done.err

    def test_from_a_descriptor(self, tmp_path: Path) -> None:
        folder, key = layout(tmp_path / "image"), _pem(tmp_path, passphrase=_PASSPHRASE)
        reading, writing = os.pipe()
        os.write(writing, f"{_PASSPHRASE}\n".encode())
        os.close(writing)
        done = subprocess.run(
            [_ADYTON, "enclave", "sign", folder, "--key", key, f"--passphrase-file=/dev/fd/{reading}"],
            pass_fds=(reading,), capture_output=True, text=True, check=False,
        )  # fmt: skip
        os.close(reading)
        assert done.returncode == 0, done.stderr
        assert EnclaveImage.load(folder).sigstruct.mrsigner == mrsigner(signer(1))

    @pytest.mark.parametrize(
        ("content", "mode", "said"),
        [
            pytest.param(b"wrong\n", 0o600, "does not open with this passphrase", id="wrong"),
            pytest.param(b"", 0o600, "signing.passphrase.file", id="empty"),
            pytest.param(b"\n" + _PASSPHRASE.encode(), 0o600, "signing.passphrase.file", id="empty first line"),
            pytest.param(b"\xff\n", 0o600, "signing.passphrase.file", id="not UTF-8"),
            pytest.param(b"x" * 1025, 0o600, "signing.passphrase.file", id="too long"),
            pytest.param(_PASSPHRASE.encode(), 0o640, "chmod 600", id="open to the group"),
            pytest.param(_PASSPHRASE.encode(), 0o604, "signing.passphrase.exposed", id="open to the world"),
        ],
    )
    def test_unusable_files(self, run: Run, tmp_path: Path, content: bytes, mode: int, said: str) -> None:
        file = _private(tmp_path, content, mode)
        key = _pem(tmp_path, passphrase=_PASSPHRASE)
        done = run("sign", layout(tmp_path / "image"), "--key", key, "--passphrase-file", file)
        assert (done.status, done.out) == (1, "")
        assert said in done.err
        assert _PASSPHRASE not in done.err

    def test_a_file_that_is_not_there(self, run: Run, tmp_path: Path) -> None:
        key = _pem(tmp_path, passphrase=_PASSPHRASE)
        done = run("sign", layout(tmp_path / "image"), "--key", key, "--passphrase-file", tmp_path / "none")
        assert done.status == 1
        assert "cannot read the passphrase file" in done.err

    def test_without_terminal_and_file_it_is_refused_not_taken_from_the_environment(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("PASSPHRASE", "ADYTON_PASSPHRASE", "ADYTON_ENCLAVE_PASSPHRASE", "SCONE_PASSPHRASE"):
            monkeypatch.setenv(name, _PASSPHRASE)
        done = run("sign", layout(tmp_path / "image"), "--key", _pem(tmp_path, passphrase=_PASSPHRASE))
        assert done.status == 1
        assert "--passphrase-file FILE" in done.err
        assert "enclave.signer.passphrase" in done.err

    @pytest.mark.parametrize("option", ["--passphrase", "--password"])
    def test_no_option_takes_it(self, run: Run, tmp_path: Path, option: str) -> None:
        words = ("sign", layout(tmp_path / "image"), "--key", _pem(tmp_path, passphrase=_PASSPHRASE))
        assert run(*words, f"{option}={_PASSPHRASE}").status == 2

    def test_for_a_key_without_one_it_is_refused(self, run: Run, tmp_path: Path) -> None:
        file = _private(tmp_path, _PASSPHRASE.encode())
        done = run("sign", layout(tmp_path / "image"), "--key", _pem(tmp_path), "--passphrase-file", file)
        assert done.status == 1
        assert "is not encrypted" in done.err

    def test_a_key_file_that_others_can_read_is_warned_of(self, run: Run, tmp_path: Path) -> None:
        done = run("sign", layout(tmp_path / "image"), "--key", _pem(tmp_path, mode=0o644))
        assert done.status == 0
        assert done.err.startswith("warning: others can read the signer key")
        assert "chmod 600" in done.err


@dataclass
class Terminal:
    """A command with a pseudo-terminal as its standard input; prompts come on standard error."""

    process: subprocess.Popen[bytes]
    master: int
    said: bytes = b""

    def answer(self, prompt: str, text: str) -> None:
        assert self.process.stderr is not None
        while prompt.encode() not in self.said:
            piece = os.read(self.process.stderr.fileno(), 4096)
            assert piece, self.said
            self.said += piece
        self.said = self.said.partition(prompt.encode())[2]
        os.write(self.master, f"{text}\n".encode())

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out.decode(), (self.said + err).decode()

    def echoed(self) -> bytes:
        ready, _, _ = select.select([self.master], [], [], 0)
        return os.read(self.master, 4096) if ready else b""


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[int] = []
    running: list[subprocess.Popen[bytes]] = []

    def start(*words: object) -> Terminal:
        master, slave = os.openpty()
        opened.extend((master, slave))  # an open slave keeps what was echoed readable
        process = subprocess.Popen(
            [str(_ADYTON), "enclave", *map(str, words)],
            stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        running.append(process)
        return Terminal(process, master)

    yield start
    for process in running:
        process.kill()
        process.communicate()
    for descriptor in opened:
        os.close(descriptor)


class TestTerminal:
    def test_the_passphrase_is_asked_for_and_not_shown(self, terminal: Callable[..., Terminal], tmp_path: Path) -> None:
        folder, key = layout(tmp_path / "image"), _pem(tmp_path, passphrase=_PASSPHRASE)
        ran = terminal("sign", folder, "--key", key)
        ran.answer(f"Passphrase of {key}: ", _PASSPHRASE)
        status, out, err = ran.end()
        assert status == 0, err
        assert "mrenclave" in out
        assert _PASSPHRASE.encode() not in ran.echoed() + (out + err).encode()
        assert EnclaveImage.load(folder).sigstruct.mrsigner == mrsigner(signer(1))

    def test_a_new_key_is_encrypted_with_what_was_typed_twice(
        self, terminal: Callable[..., Terminal], tmp_path: Path
    ) -> None:
        ran = terminal("new-key", tmp_path / "new.pem", "--encrypt")
        ran.answer("Passphrase for the new key: ", _PASSPHRASE)
        ran.answer("The same again: ", _PASSPHRASE)
        status, out, err = ran.end()
        assert (status, out) == (0, ""), err
        assert "(encrypted)" in err
        assert load_signer(tmp_path / "new.pem", Secret(_PASSPHRASE)).key_size == 3072

    def test_two_different_passphrases_make_no_key(self, terminal: Callable[..., Terminal], tmp_path: Path) -> None:
        ran = terminal("new-key", tmp_path / "new.pem", "--encrypt")
        ran.answer("Passphrase for the new key: ", _PASSPHRASE)
        ran.answer("The same again: ", "another")
        status, _out, err = ran.end()
        assert status == 1
        assert "signing.passphrase.mismatch" in err
        assert not (tmp_path / "new.pem").exists()


class TestNewKey:
    def test_encrypted_with_a_passphrase_from_a_file(self, run: Run, tmp_path: Path) -> None:
        done = run("new-key", tmp_path / "new.pem", "--passphrase-file", _private(tmp_path, b"from a file\n"))
        assert (done.status, done.out) == (0, "")
        assert b"ENCRYPTED" in (tmp_path / "new.pem").read_bytes()
        assert (tmp_path / "new.pem").stat().st_mode & 0o777 == 0o600
        load_signer(tmp_path / "new.pem", Secret("from a file"))

    def test_without_terminal_and_file_no_encrypted_key_is_made(self, run: Run, tmp_path: Path) -> None:
        done = run("new-key", tmp_path / "new.pem", "--encrypt")
        assert done.status == 1
        assert "signing.passphrase.terminal" in done.err
        assert not (tmp_path / "new.pem").exists()

    @pytest.mark.parametrize("name", ["none/new.pem", ".", "../"])
    def test_a_place_where_no_file_can_be_made(self, run: Run, tmp_path: Path, name: str) -> None:
        done = run("new-key", tmp_path / name)
        assert done.status == 1
        assert "enclave.key" in done.err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("link", [False, True], ids=["file", "link to nowhere"])
    def test_nothing_is_replaced(self, run: Run, tmp_path: Path, link: bool) -> None:
        file = tmp_path / "new.pem"
        if link:
            file.symlink_to(tmp_path / "elsewhere")
        else:
            file.write_text("a key")
        done = run("new-key", file)
        assert done.status == 1
        assert "(enclave.key.exists)" in done.err
        assert list(tmp_path.iterdir()) == [file]
        assert link or file.read_text() == "a key"

    def test_plain_by_default_and_says_so(self, run: Run, tmp_path: Path) -> None:
        assert "(not encrypted)" in run("new-key", tmp_path / "new.pem").err
        load_signer(tmp_path / "new.pem")


class TestInspect:
    def test_shows_what_is_measured_and_what_is_not(self, run: Run, tmp_path: Path) -> None:
        of = manifest(isvsvn=9, host_environment=("FROM_HOST",), environment={"A": "b"})
        done = run("inspect", layout(tmp_path / "image", of))
        image = EnclaveImage.load(tmp_path / "image")
        assert (done.status, done.err) == (0, "")
        measured, _, unmeasured = done.out.partition("NOT measured")
        for text in (
            image.mrenclave.hex(),
            image.sigstruct.mrsigner.hex(),
            "A=b",
            "isvsvn",
            "heap",
            "tcs 1",
            "all hold",
        ):
            assert text in measured
        assert "UNMEASURED=1" not in measured
        assert "UNMEASURED=1" in unmeasured
        assert "FROM_HOST" in unmeasured
        assert "2026-11-22" in unmeasured
        assert "DEBUG" not in done.out

    def test_lists_files_when_asked(self, run: Run, tmp_path: Path) -> None:
        folder = layout(tmp_path / "image")
        assert "/app/app.py" not in run("inspect", folder).out
        shown = run("inspect", folder, "--files").out
        for path, entry in trusted().items():
            assert any(path in line and getattr(entry, "sha256", "link to") in line for line in shown.splitlines())

    def test_debug_cannot_be_overlooked(self, run: Run, tmp_path: Path) -> None:
        done = run("inspect", layout(tmp_path / "image", manifest(debug=True)))
        lines = done.out.splitlines()
        assert "DEBUG ENCLAVE" in "".join(lines[:4])
        assert "DEBUG ENCLAVE" in "".join(lines[-4:])
        assert "(DEBUG)" in done.out
        assert done.status == 0

    def test_what_does_not_hold_gives_status_1(self, run: Run, tmp_path: Path) -> None:
        bad = replace(signature(manifest()), isvsvn=3)
        done = run("inspect", layout(tmp_path / "image", sigstruct=bad, files={**FILES, "/bin/tool": b"other"}))
        assert done.status == 1
        assert "NOT ALL HOLD" in done.out
        assert "does not verify" in done.out
        assert "/bin/tool" in done.out

    def test_json_is_one_document(self, run: Run, tmp_path: Path) -> None:
        document = json.loads(run("inspect", layout(tmp_path / "image"), "--json", "--files").out)
        assert document["holds"] is True
        assert len(document["measured"]["files"]["list"]) == len(trusted())
        assert document["unmeasured"]["sigstruct"]["isvsvn"] == 0

    def test_text_that_steers_a_terminal_is_shown_as_text(self, run: Run, tmp_path: Path) -> None:
        done = run("inspect", layout(tmp_path / "image", manifest(environment={"A": "\x1b[2Jgone"}, name="a\rb")))
        assert "\x1b" not in done.out
        assert "\r" not in done.out
        assert "\\u001b[2Jgone" in done.out

    def test_an_image_that_is_no_enclave(self, run: Run, tmp_path: Path) -> None:
        assert run("inspect", tmp_path / "none").status == 1
        assert run("inspect").status == 2


class TestDiff:
    def test_the_same_is_0(self, run: Run, tmp_path: Path) -> None:
        one, two = layout(tmp_path / "one"), layout(tmp_path / "two", key=signer(1))
        done = run("diff", one, two)
        assert (done.status, done.err) == (0, "")
        assert "The measurement is the same." in done.out
        assert "SIGSTRUCT (does not change MRENCLAVE)" in done.out

    def test_different_is_1_and_names_the_cause(self, run: Run, tmp_path: Path) -> None:
        new = {**FILES, "/app/app.py": b"changed", "/app/new": b""}
        one = layout(tmp_path / "one")
        two = layout(tmp_path / "two", manifest(trusted_files=trusted(new), isvsvn=4, threads=2), files=new)
        done = run("diff", one, two)
        assert done.status == 1
        for text in ("isvsvn: 0 -> 4", "~ /app/app.py  content:", "+ /app/new", "1 added, 0 removed, 1 changed",
                     "ssa 2 pages: (none) -> 8"):  # fmt: skip
            assert text in done.out

    def test_text_that_steers_a_terminal_is_shown_as_text(self, run: Run, tmp_path: Path) -> None:
        one = layout(tmp_path / "one")
        two = layout(tmp_path / "two", manifest(tmpfs={"/t\x1b[2J": 4096}, name="\x9b2J"))
        for done in (run("diff", one, two), run("diff", one, two, "--json")):
            assert not {"\x1b", "\x9b"} & set(done.out)

    def test_long_lists_are_cut_with_a_count(self, run: Run, tmp_path: Path) -> None:
        new = {**FILES, **{f"/many/{number:03}": b"" for number in range(50)}}
        one, two = layout(tmp_path / "one"), layout(tmp_path / "two", manifest(trusted_files=trusted(new)), files=new)
        short, long = run("diff", one, two).out, run("diff", one, two, "--all").out
        assert "and 30 more (--all lists them)" in short
        assert "/many/020" not in short
        assert "/many/049" in long
        assert "more (--all" not in long
        assert len(json.loads(run("diff", one, two, "--json").out)["files"]) == 50

    def test_the_agent_is_named_as_a_cause(self, run: Run, tmp_path: Path) -> None:
        new = {**FILES, "/.adyton/runtime/agent.py": b"newer"}
        one, two = layout(tmp_path / "one"), layout(tmp_path / "two", manifest(trusted_files=trusted(new)), files=new)
        assert "1 of them are the agent's" in run("diff", one, two).out

    @pytest.mark.parametrize("words", [("{one}",), ("{one}", "{one}/none"), ("{one}", "{one}", "--nonsense"), ()])
    def test_whatever_else_is_2(self, run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
        one = layout(tmp_path / "one")
        assert run("diff", *(word.format(one=one) for word in words)).status == 2


class TestHash:
    @pytest.mark.parametrize("debug", [False, True])
    def test_prints_64_digits_and_nothing_more(self, run: Run, tmp_path: Path, debug: bool) -> None:
        folder = layout(tmp_path / "image", manifest(debug=debug), ref="1.0")
        for name in (folder, f"oci:{folder}:1.0"):
            done = run("hash", name)
            assert (done.status, done.out) == (0, EnclaveImage.load(folder).mrenclave.hex() + "\n")
            assert ("DEBUG" in done.err) is debug


@pytest.mark.parametrize(
    ("verb", "texts"),
    [
        ("sign", ("MRENCLAVE", "--production", "--remeasure", "SOURCE_DATE_EPOCH", "--passphrase-file", "/dev/fd/N")),
        ("new-key", ("openssl genrsa -3 -out signer-key.pem 3072", "-aes256", "--encrypt")),
        ("inspect", ("--files", "--json", "Exit status")), ("diff", ("--all", "--json", "2 when")),
        ("hash", ("SCONE_HASH=1",)),
    ],
)  # fmt: skip
def test_help_teaches(run: Run, verb: str, texts: tuple[str, ...]) -> None:
    shown = " ".join(run(verb, "--help").out.replace("│", " ").split())
    for text in texts:
        assert text in shown


def test_no_command_answers_with_a_traceback(run: Run, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{}")
    calls: list[tuple[Any, ...]] = [
        ("sign", tmp_path, "--key", tmp_path), ("inspect", tmp_path), ("hash", tmp_path), ("diff", tmp_path, tmp_path),
    ]  # fmt: skip
    for words in calls:
        done = run(*words)
        assert done.status in (1, 2)
        assert "content." in done.err
