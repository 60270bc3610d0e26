"""The result proxy's bearer tokens: JSON Web Tokens signed with HMAC-SHA-256 (RFC 7515, RFC 7519), this form only.

Claims are those of the official proxy: ``aud`` (the wallet), ``iat`` and ``sub`` (a random UUID). There is no expiry:
a requester's token lies in the SMS until its tasks run; the service compares a token with the one that it stored.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

from adyton.base.canonical import canonical_json
from adyton.base.errors import AdytonError, InputError
from adyton.base.files import write_private
from adyton.base.jsontext import parse_json
from adyton.base.secret import Secret
from adyton.base.types import Address, parse_address

KEY_BYTES = 128
_HEADER = {"alg": "HS256"}
_MAX_TOKEN_CHARS = 1024


class TokenError(AdytonError):
    """Not a token of this service."""

    code = "results.token"


class TokenSigner:
    """Makes and reads tokens under one key.

    Args:
        key: secret bytes, at least 32.
    """

    def __init__(self, key: Secret[bytes]) -> None:
        if len(key) < 32:
            raise InputError("the token key has less than 32 bytes", code="results.token.key")
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> TokenSigner:
        """With the key in ``path`` (base64 text, owner-readable only), made when missing.

        Raises:
            InputError: the file is not a key, or others may read it.
        """
        if not path.exists():
            write_private(path, base64.b64encode(os.urandom(KEY_BYTES)))
        if path.stat().st_mode & 0o077:
            raise InputError(f"{path} can be read by others", code="results.token.key", hint=f"chmod 600 {path}")
        try:
            return cls(Secret(base64.b64decode(path.read_bytes(), validate=True)))
        except binascii.Error as error:
            raise InputError(f"{path} is not base64 text", code="results.token.key") from error

    def issue(self, wallet: Address, now: datetime) -> Secret[str]:
        """A fresh token for ``wallet``."""
        claims = {"aud": wallet, "iat": int(now.timestamp()), "sub": str(uuid.uuid4())}
        signed = f"{_encode(canonical_json(_HEADER))}.{_encode(canonical_json(claims))}"
        return Secret(f"{signed}.{_encode(self._mac(signed))}")

    def read(self, text: str) -> Address:
        """The wallet of a token that was made here.

        Raises:
            TokenError: malformed, another algorithm, or not signed with this key.
        """
        header, _, rest = text.partition(".")
        claims, _, signature = rest.partition(".")
        if len(text) > _MAX_TOKEN_CHARS or not text.isascii():
            raise TokenError("the token is malformed")
        # The signature is checked before anything in the token is looked at.
        if not hmac.compare_digest(_encode(self._mac(f"{header}.{claims}")), signature):
            raise TokenError("the token is not signed by this service")
        if _decode(header) != _HEADER:
            raise TokenError("the token is of another algorithm")
        try:
            return parse_address(_decode(claims)["aud"])
        except (KeyError, TypeError, InputError) as error:
            raise TokenError("the token names no wallet") from error

    def _mac(self, text: str) -> bytes:
        return hmac.new(self._key.reveal(), text.encode(), hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> Any:  # noqa: ANN401  # JSON is any
    try:
        return parse_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise TokenError("the token is malformed") from error
