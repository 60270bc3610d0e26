"""How values lie in the database: AES-256-GCM, bound to database, table, key of the row and its version, padded.

Blob: ``02 || nonce(12) || ciphertext || tag(16)`` of ``length(u16, big-endian) || value || zeros``. The plaintext is
padded to one of six sizes (128 bytes to 4,096, doubling), so the size of a row tells the size of its value only to a
factor of two; equal values have unequal rows, for nonces are random. With 96-bit random nonces one key is good for
2^32 writes (NIST SP 800-38D, 8.3). Each table has a key of its own, derived from the database key and the random id
of the database, so a row does not open in another table or another database either.
"""

from __future__ import annotations

import contextlib
import struct
from typing import Final

from adyton.base.aead import DecryptionError, decrypt, derive_key, encrypt
from adyton.base.secret import Secret
from adyton.sms.errors import DatabaseRowError
from adyton.sms.store.tables import AuditError

_FORMAT: Final = b"\x02"
_LENGTH: Final = struct.Struct(">H")
_SIZES: Final = (128, 256, 512, 1024, 2048, 4096)
MAX_VALUE_BYTES: Final = _SIZES[-1]


class RowCipher:
    """Encrypts the values of one table of one database.

    Args:
        database_key: the master key.
        database_id: random id of the database.
        table: name of the table.
    """

    def __init__(self, database_key: Secret[bytes], database_id: bytes, table: str) -> None:
        self._table = table.encode()
        self._keys = (self._derived(database_key, database_id),)

    def rekey(self, database_key: Secret[bytes], database_id: bytes, *, keep: bool = False) -> None:
        """Seal for another id of the database from now on.

        Args:
            database_key: the master key.
            database_id: the new id.
            keep: whether what is sealed for the present id still opens: until the change of ids is committed.
        """
        present = self._keys[:1] if keep else ()
        self._keys = (self._derived(database_key, database_id), *present)

    def seal(self, value: bytes, *place: bytes) -> bytes:
        """Encrypt ``value`` for the row that ``place`` names (key, version, columns that stay readable).

        Raises:
            ValueError: more than :data:`MAX_VALUE_BYTES`; callers check sizes before.
        """
        size = next((size for size in _SIZES if len(value) <= size), None)
        if size is None:
            raise ValueError(f"a value of {len(value)} bytes does not fit a row")
        padded = _LENGTH.pack(len(value)) + value + bytes(size - len(value))
        return _FORMAT + encrypt(self._keys[0], padded, _FORMAT, self._table, *place)

    def open(self, blob: bytes, what: str, *place: bytes) -> bytes:
        """The value of this row.

        Args:
            blob: as stored.
            what: names the row in the error.
            place: as it was sealed for.

        Raises:
            DatabaseRowError: altered, moved, of another version or database.
        """
        if isinstance(blob, bytes) and blob.startswith(_FORMAT):  # SQLite keeps text where it is told to
            for key in self._keys:
                with contextlib.suppress(DecryptionError):
                    padded = decrypt(key, blob[1:], _FORMAT, self._table, *place)
                    return padded[_LENGTH.size : _LENGTH.size + _LENGTH.unpack_from(padded)[0]]
        raise DatabaseRowError(f"{what} does not open at its place")

    def _derived(self, database_key: Secret[bytes], database_id: bytes) -> Secret[bytes]:
        return derive_key(database_key, "sms/row", self._table, database_id)


class HeadSeal:
    """Encrypts the head of the audit log for its place; one that does not open is a broken log."""

    def __init__(self, cipher: RowCipher) -> None:
        self._cipher = cipher

    def seal(self, row_id: str, version: int, body: bytes) -> bytes:
        """See :class:`adyton.base.auditchain.HeadSeal`."""
        return self._cipher.seal(body, row_id.encode(), str(version).encode())

    def open(self, row_id: str, version: int, blob: bytes) -> bytes:
        """See :class:`adyton.base.auditchain.HeadSeal`.

        Raises:
            AuditError: it was not sealed for this place.
        """
        try:
            return self._cipher.open(blob, "the head of the audit log", row_id.encode(), str(version).encode())
        except DatabaseRowError as error:
            raise AuditError(error.message) from error
