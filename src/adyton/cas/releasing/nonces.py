"""Single-use nonces in constant memory: one bit for each, and no way for a flood to push out an honest one.

A nonce is 32 bytes that mean nothing to others: its number and expiry, masked and authenticated with keys of this
process (SIV construction: the tag over both is what the mask is made of), so the CAS recognises its own without keeping
them. What is kept is one bit for each of the last :data:`WINDOW` numbers: used or not. Asking for millions therefore
costs an attacker's time and none of our memory; presenting millions of bad ones sets their own bits and nobody else's.
An honest nonce would be forgotten, and then refused, only if :data:`WINDOW` others were issued within its lifetime,
35,000 a second, far above what one CAS can answer.

A nonce is used up when it is presented, whatever comes of the evidence that holds it: evidence that failed once is
never judged again, so nobody can try one piece of it against several sessions or policies. The keys live as long as
the process: after a restart all earlier nonces are strangers.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from datetime import datetime
from typing import Final

from adyton.cas.errors import ReleaseRefusedError

NONCE_BYTES: Final = 32
LIFETIME_S: Final = 120
WINDOW: Final = 1 << 22  # 512 KiB of bits
_BODY: Final = 16  # number u64, expiry u64 (seconds since 1970), big-endian
_TAG_DOMAIN: Final = b"adyton/cas/nonce/2/tag"
_MASK_DOMAIN: Final = b"adyton/cas/nonce/2/mask"


class NonceError(ReleaseRefusedError):
    """The nonce in the evidence is not one that this CAS issued, is too old, or was used."""

    code = "cas.release.nonce"
    hint = "ask for a new nonce and make new evidence"


class NonceBook:
    """Issues nonces and sees to it that each is presented at most once. Thread-safe.

    Args:
        lifetime_s: seconds from issue to expiry.
        window: how many of the last issued are remembered; a multiple of 8.
    """

    def __init__(self, *, lifetime_s: int = LIFETIME_S, window: int = WINDOW) -> None:
        self._key = os.urandom(32)
        self._lifetime_s = lifetime_s
        self._window = window
        self._used = bytearray(window // 8)  # a ring: number modulo window
        self._next = 0
        self._lock = threading.Lock()

    def issue(self, now: datetime) -> bytes:
        """A fresh nonce."""
        with self._lock:
            number = self._next
            self._next += 1
            byte, bit = divmod(number % self._window, 8)
            self._used[byte] &= ~(1 << bit)  # the place of a number that is forgotten from now on
        expiry = int(now.timestamp()) + self._lifetime_s
        body = number.to_bytes(8, "big") + expiry.to_bytes(8, "big")
        tag = self._mac(_TAG_DOMAIN, body)
        return _xor(body, self._mac(_MASK_DOMAIN, tag)) + tag

    def spend(self, nonce: bytes, now: datetime) -> None:
        """Use ``nonce`` up; of two callers with the same one, one fails.

        Raises:
            NonceError: it is not ours, too old, or was used.
        """
        if len(nonce) != NONCE_BYTES:
            raise NonceError("the nonce in the evidence was not issued by this CAS")
        masked, tag = nonce[:_BODY], nonce[_BODY:]
        body = _xor(masked, self._mac(_MASK_DOMAIN, tag))
        if not hmac.compare_digest(self._mac(_TAG_DOMAIN, body), tag):
            raise NonceError("the nonce in the evidence was not issued by this CAS")
        number, expiry = int.from_bytes(body[:8], "big"), int.from_bytes(body[8:], "big")
        if int(now.timestamp()) >= expiry:
            raise NonceError(f"the nonce in the evidence is older than {self._lifetime_s} seconds")
        byte, bit = divmod(number % self._window, 8)
        with self._lock:
            if number < self._next - self._window:
                raise NonceError(f"more than {self._window} nonces were issued after the one in the evidence")
            if self._used[byte] >> bit & 1:
                raise NonceError("the nonce in the evidence was used before")
            self._used[byte] |= 1 << bit

    def _mac(self, domain: bytes, data: bytes) -> bytes:
        return hmac.digest(self._key, domain + data, hashlib.sha256)[:_BODY]


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(_BODY, "big")
