"""Single-use nonces with bounded memory: issuing one stores nothing, only a spent one is remembered until it expires.

A nonce is ``random(12) || expiry(4, seconds since 1970) || HMAC-SHA256(key, both) cut to 16``: the CAS recognises its
own without keeping them, so asking for millions costs an attacker's time and none of our memory. A nonce is spent at
the release, so only enclaves that pass every check can fill the memory. The key lives as long as the process: after a
restart all earlier nonces are strangers.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from datetime import datetime
from typing import Final

from adyton.base.errors import UnavailableError
from adyton.cas.errors import ReleaseRefusedError

NONCE_BYTES: Final = 32
LIFETIME_S: Final = 120
MAX_SPENT: Final = 1 << 16  # 65,536 releases in two minutes, 10 MB; far above what one CAS can verify
_BODY: Final = 16


class NonceError(ReleaseRefusedError):
    """The nonce in the evidence is not one that this CAS issued, is too old, or was used."""

    code = "cas.release.nonce"
    hint = "ask for a new nonce and make new evidence"


class NonceBook:
    """Issues nonces and sees to it that each releases at most once. Thread-safe."""

    def __init__(self, *, lifetime_s: int = LIFETIME_S, max_spent: int = MAX_SPENT) -> None:
        self._key = os.urandom(32)
        self._lifetime_s = lifetime_s
        self._max_spent = max_spent
        self._spent: dict[bytes, int] = {}  # nonce to expiry, in order of spending
        self._lock = threading.Lock()

    def issue(self, now: datetime) -> bytes:
        """A fresh nonce."""
        body = os.urandom(12) + (int(now.timestamp()) + self._lifetime_s).to_bytes(4, "big")
        return body + self._tag(body)

    def check(self, nonce: bytes, now: datetime) -> None:
        """Check that ``nonce`` is ours, in time and not spent; it can still be used after this.

        Raises:
            NonceError: it is not.
        """
        if len(nonce) != NONCE_BYTES or not hmac.compare_digest(self._tag(nonce[:_BODY]), nonce[_BODY:]):
            raise NonceError("the nonce in the evidence was not issued by this CAS")
        if int(now.timestamp()) >= _expiry(nonce):
            raise NonceError(f"the nonce in the evidence is older than {self._lifetime_s} seconds")
        with self._lock:
            if nonce in self._spent:
                raise NonceError("the nonce in the evidence was used before")

    def spend(self, nonce: bytes, now: datetime) -> None:
        """Check ``nonce`` and use it up; of two callers with the same nonce one fails.

        Raises:
            NonceError: as :meth:`check`.
            UnavailableError: more releases within a nonce's lifetime than are remembered.
        """
        self.check(nonce, now)
        with self._lock:
            if nonce in self._spent:
                raise NonceError("the nonce in the evidence was used before")
            if len(self._spent) >= self._max_spent:
                self._forget(int(now.timestamp()))
            if len(self._spent) >= self._max_spent:
                raise UnavailableError(
                    f"more than {self._max_spent} releases in {self._lifetime_s} seconds; try again",
                    code="cas.release.busy",
                )
            self._spent[nonce] = _expiry(nonce)

    def _forget(self, now_s: int) -> None:
        self._spent = {nonce: expiry for nonce, expiry in self._spent.items() if expiry > now_s}

    def _tag(self, body: bytes) -> bytes:
        return hmac.new(self._key, b"adyton/cas/nonce/1" + body, hashlib.sha256).digest()[:16]


def _expiry(nonce: bytes) -> int:
    return int.from_bytes(nonce[12:_BODY], "big")
