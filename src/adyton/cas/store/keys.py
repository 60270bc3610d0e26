"""What the master key stands for: one derived key for each use, made anew as a whole when the master is replaced."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from adyton.base import aead
from adyton.base.secret import Secret
from adyton.cas.errors import StoreCorruptError
from adyton.cas.store.tables import AUDIT_CHAIN, AUTHORITY, SESSIONS, STATE

_DIGEST_DOMAIN: Final = b"adyton/cas/row-digest/1"
_ACTIVATION_DOMAIN: Final = b"adyton/cas/activation/1"
_TAG_BYTES: Final = 16
DIGEST_BYTES: Final = 32


class RowCipher:
    """Encrypts the rows of one table under the table's own key."""

    def __init__(self, master: Secret[bytes], table: str) -> None:
        self._table = table
        self._key = aead.derive_key(master, "cas/row-key", table.encode())

    def seal(self, row_id: str, version: int, body: bytes, *clear: bytes) -> bytes:
        """Encrypt ``body`` for exactly this row; ``clear`` are the columns that stay readable."""
        return aead.encrypt(self._key, body, *self._context(row_id, version, clear))

    def open(self, row_id: str, version: int, blob: bytes, *clear: bytes) -> bytes:
        """The body of this row.

        Raises:
            StoreCorruptError: not what was stored here.
        """
        try:
            return aead.decrypt(self._key, blob, *self._context(row_id, version, clear))
        except aead.DecryptionError as error:
            raise StoreCorruptError(
                f"the row {row_id[:16]} of table {self._table} does not decrypt in its place"
            ) from error

    def _context(self, row_id: str, version: int, clear: Sequence[bytes]) -> tuple[bytes, ...]:
        return (self._table.encode(), row_id.encode(), version.to_bytes(8, "big"), *clear)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys under one master.

    Attributes:
        sessions, authority, audit, state: ciphers of the tables.
        head: encrypts the head file.
        names: makes rows' ids of sessions' names.
        digest: makes the digest of all session rows.
        activations: makes what a running service shows to renew its identity.
    """

    sessions: RowCipher
    authority: RowCipher
    audit: RowCipher
    state: RowCipher
    head: Secret[bytes]
    names: Secret[bytes]
    digest: Secret[bytes]
    activations: Secret[bytes]

    @classmethod
    def of(cls, master: Secret[bytes]) -> Self:
        """Derive them."""
        return cls(
            sessions=RowCipher(master, SESSIONS.name),
            authority=RowCipher(master, AUTHORITY.name),
            audit=RowCipher(master, AUDIT_CHAIN.head.name),
            state=RowCipher(master, STATE.name),
            head=aead.derive_key(master, "cas/head-file"),
            names=aead.derive_key(master, "cas/session-name"),
            digest=aead.derive_key(master, "cas/row-digest"),
            activations=aead.derive_key(master, "cas/activation"),
        )

    def row_id(self, name: str) -> str:
        """The id of a session's row: its name is not stored."""
        return hmac.new(self.names.reveal(), name.encode(), hashlib.sha256).hexdigest()

    def activation(self, name: str, service: str, mrenclave: bytes) -> str:
        """What an enclave that was given this part gets, and nobody else has: 64 hex digits."""
        mark = aead.bind(_ACTIVATION_DOMAIN, name.encode(), service.encode(), mrenclave)
        return hmac.new(self.activations.reveal(), mark, hashlib.sha256).hexdigest()

    def row_digest(self, row_id: str, version: int, body: bytes) -> int:
        """A row's share of the digest of all rows: a number below 2^256.

        The digest of all rows is the sum of their shares modulo 2^256 (Clarke et al., "Incremental Multiset Hash
        Functions", ASIACRYPT 2003, MSet-Add-Hash): it is kept up to date in one step for each change, says nothing of
        an order, and only who has the key makes another set of rows with the same one. Of a body its nonce and its tag
        count, which no two ciphertexts share; the rest is bound to them by the row's own authentication.
        """
        mark = aead.bind(
            _DIGEST_DOMAIN, row_id.encode(), version.to_bytes(8, "big"), body[: aead.NONCE_BYTES], body[-_TAG_BYTES:]
        )
        return int.from_bytes(hmac.digest(self.digest.reveal(), mark, hashlib.sha256), "big")
