"""The program: started with a file, stopped with a signal, refusing what it cannot serve."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.conftest import Chain
from tests.ports import free_port
from tests.sms.process import sms_process
from tests.sms.support import KEY_HEX, REQUESTER, make_settings
from tests.waiting import PATIENCE_S

from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.sms.client import SmsClient
from adyton.sms.composition import session_maker
from adyton.sms.errors import UnsupportedFrameworkError
from adyton.sms.wire import Framework

CANARY = "canary-from-the-program"


def write_config(folder: Path, port: int, key_hex: str = KEY_HEX, framework: str = "SCONE") -> Path:
    (folder / "database-key").write_text(key_hex)
    stage = 'image = "i", fingerprint = "f", entrypoint = "e", heap_size = "1GB"'
    config = folder / "sms.toml"
    config.write_text(
        f'framework = "{framework}"\nport = {port}\ndatabase = "{folder}/sms.sqlite3"\n'
        f'database_key_file = "{folder}/database-key"\n[[pipelines]]\nversion = "v1"\n'
        f"pre_compute = {{{stage}}}\npost_compute = {{{stage}}}\n"
    )
    return config


def start(config: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "adyton.sms.main", "--config", str(config)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(client: SmsClient, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        try:
            assert client.framework() is Framework.SCONE
        except UnavailableError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the service did not start within {PATIENCE_S} s")


def test_it_serves_until_terminated_and_says_no_secret(tmp_path: Path) -> None:
    port = free_port()
    process = start(write_config(tmp_path, port))
    client = SmsClient(f"http://127.0.0.1:{port}")
    try:
        wait_for(client, process)
        assert not (tmp_path / "database-key").exists()
        client.push_requester("login", Secret(CANARY), REQUESTER)
        assert client.check_requester(REQUESTER.address, "login")
    finally:
        client.close()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode in {0, -signal.SIGTERM}
    assert CANARY not in out + err
    assert KEY_HEX not in out + err

    again = start(write_config(tmp_path, port, key_hex="22" * 32))
    _, err = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 1
    line = json.loads(err.strip().splitlines()[-1])
    assert line["code"] == "sms.database.key"
    assert "another database key" in line["detail"]


def test_a_client_cannot_choose_the_address_it_is_counted_by(tmp_path: Path, chain: Chain) -> None:
    with sms_process(tmp_path, chain, requests_per_s=1) as sms:
        path, query = "/secrets/web3", {"secretAddress": REQUESTER.address}
        for number in range(8):
            answer = sms.http.head(path, params=query, headers={"X-Forwarded-For": f"203.0.113.{number}"})
    assert answer.status_code == 429


@pytest.mark.parametrize(("framework", "code"), [("GRAMINE", "sms.framework.unsupported"), ("SEV", "settings.invalid")])
def test_it_refuses_what_it_cannot_serve(tmp_path: Path, framework: str, code: str) -> None:
    process = start(write_config(tmp_path, free_port(), framework=framework))
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert json.loads(err.strip().splitlines()[-1])["code"] == code
    assert (tmp_path / "database-key").exists()


def test_a_tls_port_needs_an_enclave_that_proves_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADYTON_SMS_TLS_PORT", str(free_port()))
    process = start(write_config(tmp_path, free_port()))
    _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, json.loads(err.strip().splitlines()[-1])["code"]) == (1, "platform.absent")
    assert (tmp_path / "database-key").exists()


def test_no_session_maker_of_another_framework(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFrameworkError):
        session_maker(make_settings(tmp_path, framework=Framework.GRAMINE))
