"""Upload tokens: only what this key signed, in this form."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adyton.base.errors import InputError
from adyton.base.secret import Secret
from adyton.base.types import parse_address
from adyton.results.jwt import TokenError, TokenSigner

KEY = Secret(b"k" * 64)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WALLET = parse_address("0x" + "ab" * 20)


def make(header: object, claims: object, key: bytes = b"k" * 64) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    mac = hmac.new(key, ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join([*parts, base64.urlsafe_b64encode(mac).rstrip(b"=").decode()])


def test_a_token_is_read_back() -> None:
    signer = TokenSigner(KEY)
    token = signer.issue(WALLET, NOW)
    assert signer.read(token.reveal()) == WALLET
    claims = json.loads(base64.urlsafe_b64decode(token.reveal().split(".")[1] + "=="))
    assert claims["iat"] == 1767225600
    assert set(claims) == {"aud", "iat", "sub"}
    assert signer.issue(WALLET, NOW) != token  # every token has its own subject


def test_the_form_is_that_of_the_rfc() -> None:
    assert TokenSigner(KEY).read(make({"alg": "HS256"}, {"aud": WALLET})) == WALLET


@pytest.mark.parametrize(
    "token",
    [
        "",
        "..",
        make({"alg": "none"}, {"aud": WALLET}),
        make({"alg": "HS512"}, {"aud": WALLET}),
        make({"alg": "HS256", "kid": "x"}, {"aud": WALLET}),
        make({"alg": "HS256"}, {"aud": WALLET}, b"another key" * 8),
        make({"alg": "HS256"}, {"aud": "0x12"}),
        make({"alg": "HS256"}, {"sub": "x"}),
        make({"alg": "HS256"}, [WALLET]),
        make({"alg": "HS256"}, {"aud": [WALLET]}),
        make({"alg": "HS256"}, {"aud": WALLET}) + "=",
        make({"alg": "HS256"}, {"aud": WALLET}) + ".x",
        make({"alg": "HS256"}, {"aud": WALLET, "pad": "x" * 2000}),
        "\u00e9.b.c",
    ],
)
def test_tokens_that_are_refused(token: str) -> None:
    with pytest.raises(TokenError):
        TokenSigner(KEY).read(token)


def test_the_key_file_is_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "jwt-sign.key"
    token = TokenSigner.from_file(path).issue(WALLET, NOW)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode(path.read_bytes())) == 128
    assert TokenSigner.from_file(path).read(token.reveal()) == WALLET
    path.chmod(0o644)
    with pytest.raises(InputError, match="read by others"):
        TokenSigner.from_file(path)


@pytest.mark.parametrize("content", [b"not base64!", base64.b64encode(b"short")])
def test_key_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InputError):
        TokenSigner.from_file(path)
