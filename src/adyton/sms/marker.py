"""The marker of a database: proof that a key is the one it was made with, and the random id of the database."""

from __future__ import annotations

from typing import Final

from adyton.base.aead import DecryptionError, decrypt, derive_key, encrypt
from adyton.base.secret import Secret
from adyton.sms.errors import DatabaseKeyError

OTHER_KEY: Final = "start the service with the CAS session that made this database, or with an empty database"
ID_BYTES: Final = 16
_TEXT: Final = b"adyton sms database 2"
_FIRST_TEXT: Final = b"adyton sms database 1"  # of the first schema, which had no id
_CONTEXT: Final = b"marker"


def seal_marker(key: Secret[bytes], database_id: bytes) -> bytes:
    """The marker of a database of this id."""
    return encrypt(derive_key(key, "sms/marker"), _TEXT + database_id, _CONTEXT)


def open_marker(key: Secret[bytes], blob: bytes) -> bytes:
    """The id of the database.

    Raises:
        DatabaseKeyError: the marker was made with another key.
    """
    text = _open(key, blob)
    if not text.startswith(_TEXT) or len(text) != len(_TEXT) + ID_BYTES:
        raise other_key()
    return text[len(_TEXT) :]


def check_first_marker(key: Secret[bytes], blob: bytes) -> None:
    """Check the marker of the first schema.

    Raises:
        DatabaseKeyError: it was made with another key.
    """
    if _open(key, blob) != _FIRST_TEXT:
        raise other_key()


def other_key() -> DatabaseKeyError:
    """The refusal to open a database with a key that did not make it."""
    return DatabaseKeyError(
        "the database was made with another database key than the one given to this process", hint=OTHER_KEY
    )


def _open(key: Secret[bytes], blob: bytes) -> bytes:
    try:
        return decrypt(derive_key(key, "sms/marker"), blob, _CONTEXT)
    except DecryptionError:
        raise other_key() from None
