"""The ``adyton`` command as a process: exit statuses and what it says when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


def adyton(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "adyton"), *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("status", "--state", "{none}"), 3, "start it with 'adyton up'"),
        (("down", "--state", "{none}"), 0, "no network is running"),
        (("chain-json", "--state", "{none}"), 1, "devnet.network.none"),
        (("fund", "--state", "{none}", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"), 1, "devnet.network.none"),
        (("fund", "--state", "{none}", "nobody"), 1, "input.address"),
        (("fund", "--rlc", "0"), 1, "fund.amount"),
        (("logs", "--state", "{none}", "sms"), 1, "devnet.log.none"),
        (("up", "--port", "nothing=1"), 1, "the services are: chain,"),
        (("up", "--port", "sms=70000"), 1, "65535"),
        (("image", "build", "{none}/app", "{none}/image"), 1, "enclave.build.app"),
        (("enclave", "hash", "{none}/image"), 1, "content"),
        (("nonsense",), 2, "Unknown command"),
        (("up", "--nonsense"), 2, "Unknown option"),
        (("--version",), 0, ""),
        (("--help",), 0, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_status_and_message(tmp_path: Path, words: tuple[str, ...], status: int, said: str) -> None:
    done = adyton(*(word.format(none=tmp_path / "none") for word in words))
    assert done.returncode == status
    assert said in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_new_signing_key_is_private_and_never_replaced(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    assert adyton("enclave", "new-key", str(key)).returncode == 0
    content = key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    assert adyton("enclave", "new-key", str(key)).returncode == 1
    assert key.read_bytes() == content


def test_help_names_every_verb_with_its_purpose() -> None:
    shown = adyton("--help").stdout
    for verb in ("up", "down", "status", "logs", "chain-json", "fund", "image", "enclave", "demo"):
        assert f" {verb} " in shown
    assert os.environ.get("HOME", "/nowhere") not in shown
