"""Login of workers and identification of requesters: challenges, JSON web tokens (RFC 7519, HS256), signatures."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from adyton.base.clock import Clock
from adyton.base.errors import AdytonError
from adyton.base.secret import Secret
from adyton.base.types import Address, parse_address

TOKEN_LIFETIME: Final = timedelta(hours=1)
LOGIN_LIFETIME: Final = timedelta(minutes=5)
LOGS_LIFETIME: Final = timedelta(minutes=60)
MAX_CHALLENGES: Final = 10_000  # anyone may ask for one
_MAX_TOKEN_CHARS: Final = 1000


class TokenError(AdytonError):
    """A token is not one of ours, or its time is over."""

    code = "scheduler.token"


class TokenIssuer:
    """Makes and checks worker tokens.

    Args:
        audience: who the tokens are for; checked, so that tokens of another version are refused.
        clock: current time.
        key: authenticates the tokens; None makes one that lives in this process only.
    """

    def __init__(self, audience: str, clock: Clock, key: Secret[bytes] | None = None) -> None:
        self._key = Secret(os.urandom(128)) if key is None else key
        self._audience = audience
        self._clock = clock

    def issue(self, wallet: Address) -> str:
        """A token for one hour."""
        now = self._clock()
        claims = {
            "aud": self._audience,
            "sub": wallet,
            "iat": int(now.timestamp()),
            "exp": int((now + TOKEN_LIFETIME).timestamp()),
        }
        signed = f"{_encode_json({'alg': 'HS256', 'typ': 'JWT'})}.{_encode_json(claims)}"
        return f"{signed}.{_encode(self._tag(signed))}"

    def check(self, token: str) -> Address:
        """The wallet that a token was issued to.

        Raises:
            TokenError: malformed, not ours, for someone else, or expired.
        """
        parts = token.split(".")
        if len(token) > _MAX_TOKEN_CHARS or len(parts) != 3:
            raise TokenError("not a token")
        if not hmac.compare_digest(_decode(parts[2]), self._tag(f"{parts[0]}.{parts[1]}")):
            raise TokenError("the token is not of this scheduler")
        claims: dict[str, Any] = json.loads(_decode(parts[1]))  # ours: the tag was checked
        if claims["aud"] != self._audience or claims["exp"] <= self._clock().timestamp():
            raise TokenError("the token has expired")
        return parse_address(claims["sub"])

    def _tag(self, signed: str) -> bytes:
        return hmac.new(self._key.reveal(), signed.encode(), hashlib.sha256).digest()


class Challenges(Protocol):
    """One random challenge for each wallet, the same until it expires or is used up."""

    def get(self, wallet: Address) -> str:
        """The wallet's challenge: base64 of 32 random bytes."""

    def peek(self, wallet: Address) -> str | None:
        """The wallet's challenge if it has one."""

    def burn(self, wallet: Address, text: str) -> bool:
        """Use up a challenge; False when another call was first."""


@dataclass(frozen=True, slots=True)
class _Challenge:
    text: str
    expires: datetime


class ChallengeBook:
    """Challenges that live in this process.

    Args:
        lifetime: how long one stays.
        clock: current time.
    """

    def __init__(self, lifetime: timedelta, clock: Clock) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._lock = threading.Lock()
        self._challenges: dict[Address, _Challenge] = {}

    def get(self, wallet: Address) -> str:
        """The wallet's challenge: base64 of 32 random bytes."""
        now = self._clock()
        with self._lock:
            found = self._challenges.get(wallet)
            if found is None or found.expires <= now:
                self._make_room(now)
                found = _Challenge(base64.b64encode(os.urandom(32)).decode(), now + self._lifetime)
                self._challenges[wallet] = found
            return found.text

    def peek(self, wallet: Address) -> str | None:
        """The wallet's challenge if it has one."""
        with self._lock:
            found = self._challenges.get(wallet)
        return found.text if found is not None and found.expires > self._clock() else None

    def burn(self, wallet: Address, text: str) -> bool:
        """Use up a challenge; False when another call was first."""
        with self._lock:
            found = self._challenges.get(wallet)
            if found is None or found.text != text:
                return False
            del self._challenges[wallet]
            return True

    def _make_room(self, now: datetime) -> None:
        if len(self._challenges) < MAX_CHALLENGES:
            return
        self._challenges = {wallet: c for wallet, c in self._challenges.items() if c.expires > now}
        while len(self._challenges) >= MAX_CHALLENGES:
            del self._challenges[next(iter(self._challenges))]


def _encode_json(value: dict[str, Any]) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenError("not a token") from error
