from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.secret import Secret
from adyton.cas.client.answers import ServiceConfig
from adyton.runtime import identity

_START = datetime(2026, 11, 22, 12, tzinfo=UTC)


def _certificate(life: timedelta) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(_START).not_valid_after(_START + life)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def _config(certificate: str, key: bytes = b"KEY\n") -> ServiceConfig:
    return ServiceConfig("", "/", {}, {}, (), "CA\n", certificate, Secret(key))


@pytest.mark.parametrize(
    ("age", "expected_s"),
    [(0, 1800), (600, 1200), (1799, 5), (1800, 360), (3599, 360), (7200, 360)],
)
def test_renewal_is_due_at_half_life_and_then_again_and_again(age: int, expected_s: float) -> None:
    now = _START + timedelta(seconds=age)
    assert identity.next_renewal_s(_certificate(timedelta(hours=1)), now) == expected_s


def test_files_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    identity.write(_config("CERTIFICATE\n"), folder)
    assert (folder / "identity.pem").read_text() == "KEY\nCERTIFICATE\n"
    assert (folder / "cas-ca.pem").read_text() == "CA\n"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_renewal_replaces_the_files_and_survives_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_MIN_WAIT_S", 0.01)
    certificate = _certificate(timedelta(seconds=1))
    fetched = threading.Event()
    failures: list[str] = []
    shown: list[ServiceConfig] = []
    answers: list[ServiceConfig | AdytonError] = [UnavailableError("down"), _config(certificate, b"NEW\n")]

    def fetch(current: ServiceConfig) -> ServiceConfig:
        shown.append(current)
        answer = answers.pop(0) if answers else _config(certificate, b"NEW\n")
        if isinstance(answer, AdytonError):
            raise answer
        fetched.set()
        return answer

    first = _config(certificate, b"OLD\n")
    identity.write(first, tmp_path)
    now = _START + timedelta(seconds=0.49)
    with identity.Renewal(fetch, first, lambda error: failures.append(error.code), tmp_path, lambda: now):
        assert fetched.wait(10)
    assert shown[:2] == [first, first]  # what is in place goes with each attempt
    assert failures == ["service.unavailable"]
    assert (tmp_path / "identity.pem").read_text().startswith("NEW")
