"""The clients: light imports, and answers that make no sense."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from adyton.base.errors import InputError, UnavailableError
from adyton.cas.client.answers import (
    decode,
    read_identity_proof,
    read_nonce,
    read_page,
    read_service_config,
    read_session_info,
)
from adyton.cas.client.tls import CasRefusedError, _refusal, host_port

KEY = ec.generate_private_key(ec.SECP256R1())

CONFIG: dict[str, Any] = {
    "command": "run",
    "pwd": "/",
    "environment": {"A": "secret-canary"},
    "volumes": {"v": {"path": "/v", "key": "11" * 32}},
    "files": [{"path": "/f", "content": "AAE="}],
    "ca": "CA",
    "certificate": "CERT",
}


def test_importing_the_client_is_light() -> None:
    heavy = {"pydantic", "yaml", "fastapi", "uvicorn", "sqlalchemy", "httpx2", "structlog", "OpenSSL", "cbor2"}
    modules = "enclaves, adyton.cas.client.kept, adyton.cas.client.owners, adyton.cas.client.proof"
    code = f"import sys, adyton.cas.client.{modules}; print(sorted(set(sys.modules) & {heavy!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_configuration() -> None:
    config = read_service_config(CONFIG, KEY)
    assert config.files[0].content.reveal() == b"\x00\x01"
    assert config.volumes["v"].key.reveal() == b"\x11" * 32
    assert "secret-canary" not in repr(config)
    assert "11" * 32 not in repr(config)


@pytest.mark.parametrize(
    "change",
    [
        {"command": None},
        {"command": ["run"]},
        {"environment": ["A=b"]},
        {"environment": {"A": 1}},
        {"volumes": []},
        {"volumes": {"v": {"path": "/v", "key": "11" * 31}}},
        {"volumes": {"v": {"path": "/v", "key": "xx"}}},
        {"volumes": {"v": {"path": "/v"}}},
        {"files": {}},
        {"files": [{"path": "/f", "content": "?"}]},
        {"files": [None]},
        {"ca": 1},
    ],
    ids=str,
)
def test_configurations_that_make_no_sense(change: dict[str, Any]) -> None:
    answer = {**CONFIG, **change}
    with pytest.raises(UnavailableError) as caught:
        decode(read_service_config, answer, KEY)
    assert caught.value.code == "cas.answer"
    assert "secret-canary" not in str(caught.value)


@pytest.mark.parametrize("answer", [None, [], 1, "x", {}, {"nonce": 1}, {"nonce": "xx"}, {"nonce": "11" * 31}])
def test_nonces_that_make_no_sense(answer: object) -> None:
    with pytest.raises(UnavailableError):
        decode(read_nonce, answer)


@pytest.mark.parametrize("answer", [None, {}, {"certificate": "x", "ca": "x"}, {"certificate": 1, "ca": 1}])
def test_proofs_that_make_no_sense(answer: object) -> None:
    with pytest.raises(UnavailableError):
        decode(read_identity_proof, answer)


@pytest.mark.parametrize("answer", [None, {}, {"name": 1, "hash": "x"}])
def test_session_answers_that_make_no_sense(answer: object) -> None:
    with pytest.raises(UnavailableError):
        read_session_info(answer)


@pytest.mark.parametrize(
    "answer",
    [None, {}, {"sessions": [], "next": 1}, {"sessions": {}, "next": ""}, {"sessions": [{}], "next": ""},
     {"sessions": [], "next": "a&b"}],
)  # fmt: skip
def test_pages_that_make_no_sense(answer: object) -> None:
    with pytest.raises(UnavailableError):
        decode(read_page, answer)


@pytest.mark.parametrize(
    ("status", "answer", "kind", "code"),
    [
        (403, {"code": "a.b", "detail": "why", "hint": "do"}, CasRefusedError, "a.b"),
        (404, {"detail": 1, "code": 2}, CasRefusedError, "cas.refused"),
        (400, [], CasRefusedError, "cas.refused"),
        (503, {"code": "cas.store.unwritable"}, UnavailableError, "cas.store.unwritable"),
        (500, "x", UnavailableError, "cas.answer"),
    ],
)
def test_refusal_or_unavailable(status: int, answer: object, kind: type[Exception], code: str) -> None:
    error = _refusal(status, json.loads(json.dumps(answer)))
    assert type(error) is kind
    assert error.code == code


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://cas.example", ("cas.example", 8081)),
        ("https://127.0.0.1:9000/", ("127.0.0.1", 9000)),
        ("cas:1", ("cas", 1)),
        ("https://[::1]:5", ("::1", 5)),
    ],
)
def test_host_and_port(url: str, expected: tuple[str, int]) -> None:
    assert host_port(url, 8081) == expected


@pytest.mark.parametrize("url", ["http://cas", "https://", "https://cas:x", "https://cas:70000"])
def test_addresses_that_make_no_sense(url: str) -> None:
    with pytest.raises(InputError):
        host_port(url, 8081)
