"""The CAS as a process, over a platform descriptor as an enclave has it: start, serve, end, and clear failures."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.cas.documents import APP, iexec_document, to_yaml
from tests.cas.house import CAS, House, Running
from tests.ports import free_port
from tests.waiting import PATIENCE_S

from adyton.base.errors import UnavailableError
from adyton.cas.client.enclaves import AttestationRefusedError
from adyton.platform.client import PLATFORM_FD
from adyton.platform.simulated import channel

APP_ENCLAVE = bytes.fromhex(APP)


class Everyone:
    """Takes any process for the enclave's: who belongs to one is the platform's business, and tested there."""

    def require(self, sender: object) -> None:
        """Whoever sends."""

    def require_untraced(self) -> None:
        """Traced or not."""


def start(environment: Mapping[str, str], descriptor: int | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "adyton.cas.main"],
        env={"PATH": os.environ["PATH"], **environment},
        pass_fds=() if descriptor is None else (descriptor,),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def settings(house: House, rest_port: int, attested_port: int) -> dict[str, str]:
    return {
        "ADYTON_CAS_DATABASE": str(house.folder / "cas"),
        "ADYTON_CAS_PCCS_URL": house.pccs_url,
        "ADYTON_CAS_ANCHORS": house.world.anchor.tier,
        "ADYTON_CAS_PROFILE": "development",
        "ADYTON_CAS_REST_PORT": str(rest_port),
        "ADYTON_CAS_ATTESTED_PORT": str(attested_port),
    }


def wait_until_up(process: subprocess.Popen[str], cas: Running) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with cas.connect():
                return
        except UnavailableError:
            if process.poll() is not None or time.monotonic() > deadline:
                output = process.communicate(timeout=5)
                pytest.fail(f"the CAS did not start: {output}")
            time.sleep(0.05)


def test_the_process_serves_both_ports_and_ends_in_order(house: House) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    platform = house.world.platform(CAS)
    threading.Thread(target=channel.serve, args=(ours, platform, {}, Everyone(), lambda: None), daemon=True).start()
    cas = Running(house.world, house.folder / "cas", house.folder, free_port(), free_port())
    environment = settings(house, cas.rest_port, cas.attested_port)
    process = start({**environment, PLATFORM_FD: str(theirs.fileno())}, theirs.fileno())
    try:
        theirs.close()
        wait_until_up(process, cas)
        document = iexec_document()
        cas.owner().create(to_yaml(document))
        part = cas.enclave(cas.world.platform(APP_ENCLAVE)).fetch(document["name"], "app")
        assert part.environment["IEXEC_APP_DEVELOPER_SECRET"] == "developer-canary"
        with pytest.raises(AttestationRefusedError):
            cas.enclave(cas.world.platform(b"\x01" * 32)).fetch(document["name"], "app")
        with cas.connect() as idle:  # an open connection does not keep it from ending
            idle.json("GET", "/v1/nonce")
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "")
    assert '"event": "released"' in err
    assert '"code": "cas.release.measurement"' in err
    for canary in ("developer-canary", "dataset-key-canary", document["name"]):
        assert canary not in err


def test_an_address_that_a_client_writes_itself_is_not_what_it_is_counted_by(house: House) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    platform = house.world.platform(CAS)
    threading.Thread(target=channel.serve, args=(ours, platform, {}, Everyone(), lambda: None), daemon=True).start()
    cas = Running(house.world, house.folder / "cas", house.folder, free_port(), free_port())
    environment = {**settings(house, cas.rest_port, cas.attested_port), "ADYTON_CAS_REFUSALS_PER_S": "0.01"}
    process = start({**environment, PLATFORM_FD: str(theirs.fileno())}, theirs.fileno())
    statuses = []
    try:
        theirs.close()
        wait_until_up(process, cas)
        for number in range(3):
            with cas.owner(f"key {number}")._open() as connection:
                made_up = {"X-Forwarded-For": f"192.0.2.{number}"}
                connection._http.request("POST", "/session", body=b"[]", headers=made_up)
                statuses.append(connection._http.getresponse().status)
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_S)
    assert statuses == [400, 429, 429]


def test_outside_an_enclave_it_says_so(house: House) -> None:
    process = start(settings(house, 0, 0))
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert err.startswith("adyton-cas: platform.absent: ")
    assert not (house.folder / "cas").exists()


def test_in_production_no_simulated_root_is_accepted(house: House) -> None:
    values = settings(house, 0, 0)
    del values["ADYTON_CAS_PROFILE"]  # production is the default
    process = start(values)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert err.startswith("adyton-cas: attestation.anchor.simulated: ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ADYTON_CAS_PROFILE": "test"}, "profile"),
        ({"ADYTON_CAS_ANCHORS": ""}, "anchors"),
        ({"ADYTON_CAS_ANCHORS": "sim:abc"}, "not a trust anchor"),
        ({"ADYTON_CAS_ANCORS": "intel"}, "ancors"),
        ({"ADYTON_CAS_REST_PORT": "99999"}, "rest_port"),
        ({"ADYTON_CAS_PCCS_URL": "file:///etc"}, "pccs_url"),
    ],
    ids=["profile", "no anchor", "broken anchor", "misspelt", "port", "url"],
)
def test_settings_are_checked(house: House, change: dict[str, str], reason: str) -> None:
    from adyton.base.errors import InputError  # noqa: PLC0415
    from adyton.cas.settings import CasSettings  # noqa: PLC0415

    with pytest.raises(InputError, match=reason) as caught:
        CasSettings.load(env={**settings(house, 0, 0), **change})
    assert caught.value.code == "settings.invalid"


def test_settings_from_environment(house: House) -> None:
    from adyton.cas.settings import CasSettings  # noqa: PLC0415

    values = settings(house, 0, 0)
    values["ADYTON_CAS_ANCHORS"] += ", intel"
    loaded = CasSettings.load(env=values)
    assert [anchor.tier for anchor in loaded.trust_anchors] == [house.world.anchor.tier, "intel"]
    assert loaded.database == Path(values["ADYTON_CAS_DATABASE"])
