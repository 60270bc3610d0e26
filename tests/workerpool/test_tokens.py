"""Worker tokens, login challenges and the wire's login message."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from adyton.base.types import keccak
from adyton.chain.wallet import Wallet
from adyton.workerpool.scheduler.tokens import ChallengeBook, TokenError, TokenIssuer
from adyton.workerpool.wire import is_login_challenge, login_challenge, login_message

START = datetime(2026, 11, 22, tzinfo=UTC)


class Time:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def test_token_round_trip_and_expiry() -> None:
    clock, wallet = Time(), Wallet.create().address
    issuer = TokenIssuer("pool", clock)
    token = issuer.issue(wallet)
    assert issuer.check(token) == wallet
    clock.now = START + timedelta(minutes=59)
    assert issuer.check(token) == wallet
    clock.now = START + timedelta(hours=1)
    with pytest.raises(TokenError, match="expired"):
        issuer.check(token)


def altered(token: str, **claims: object) -> str:
    head, body, tag = token.split(".")
    document = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))) | claims
    body = base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")
    return f"{head}.{body}.{tag}"


def test_wrong_tokens_are_refused() -> None:
    wallet = Wallet.create().address
    issuer = TokenIssuer("pool", Time())
    good = issuer.issue(wallet)
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=") + "." + good.split(".")[1] + "."
    wrong = [
        "",
        "a.b",
        "a.b.c",
        "é.é.é",
        good + "x",
        good[:-2],
        unsigned,
        altered(good, sub=Wallet.create().address),
        altered(good, exp=2**40),
        TokenIssuer("pool", Time()).issue(wallet),
        "x" * 5000,
    ]
    for token in wrong:
        with pytest.raises(TokenError):
            issuer.check(token)


def test_challenge_is_kept_until_burned_or_expired() -> None:
    clock, wallet = Time(), Wallet.create().address
    book = ChallengeBook(timedelta(minutes=5), clock)
    first = book.get(wallet)
    assert len(base64.b64decode(first)) == 32
    assert book.get(wallet) == first == book.peek(wallet)
    assert book.get(Wallet.create().address) != first
    assert not book.burn(wallet, "other")
    assert book.burn(wallet, first)
    assert not book.burn(wallet, first)
    assert book.peek(wallet) is None
    second = book.get(wallet)
    assert second != first
    clock.now = START + timedelta(minutes=5)
    assert book.peek(wallet) is None
    assert book.get(wallet) != second


def test_login_challenge_names_pool_and_wallet() -> None:
    pool, worker = Wallet.create().address, Wallet.create().address
    nonce = base64.b64encode(bytes(32)).decode()
    text = login_challenge(pool, worker, nonce)
    assert is_login_challenge(text, pool, worker)
    assert login_message(text) == keccak(text.encode())
    assert not is_login_challenge(text, worker, pool)
    assert not is_login_challenge(text + "x", pool, worker)
    assert not is_login_challenge(nonce, pool, worker)
    assert not is_login_challenge("transfer everything", pool, worker)
