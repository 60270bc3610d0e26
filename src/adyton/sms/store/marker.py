"""The marker of a database: proof that a key is the one it is under, and the random id of the database.

Beside it is kept, once the database key was exchanged, the key of the marks that make signed writes single-use: marks
cannot be made anew, for the signatures are not kept.
"""

from __future__ import annotations

from typing import Final

from adyton.base.aead import DecryptionError, decrypt, derive_key, encrypt
from adyton.base.secret import Secret
from adyton.sms.errors import DatabaseKeyError

OTHER_KEY: Final = (
    "start the build and the CAS session that made this database, or start with an empty database: another build has"
    " another key, and so has one that was approved with 'discard'"
)
ID_BYTES: Final = 16
_TEXT: Final = b"adyton sms database 2"
_FIRST_TEXT: Final = b"adyton sms database 1"  # of the first schema, which had no id
_CONTEXT: Final = b"marker"
_WRITES: Final = "sms/signed-write"


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


def opens_marker(key: Secret[bytes], blob: bytes) -> bool:
    """Whether the marker, of any schema, was made with this key."""
    try:
        _open(key, blob)
    except DatabaseKeyError:
        return False
    return True


def check_first_marker(key: Secret[bytes], blob: bytes) -> None:
    """Check the marker of the first schema.

    Raises:
        DatabaseKeyError: it was made with another key.
    """
    if _open(key, blob) != _FIRST_TEXT:
        raise other_key()


def seal_write_key(key: Secret[bytes], write_key: Secret[bytes]) -> bytes:
    """The key of the marks of used signatures, kept under the database key: it outlives that one's exchange."""
    return encrypt(derive_key(key, "sms/write-key"), write_key.reveal(), _CONTEXT)


def open_write_key(key: Secret[bytes], blob: bytes | None) -> Secret[bytes]:
    """The inverse; None is stored as long as it is the one that the first database key gives.

    Raises:
        DatabaseKeyError: it was sealed with another key.
    """
    if blob is None:
        return derive_key(key, _WRITES)
    try:
        return Secret(decrypt(derive_key(key, "sms/write-key"), blob, _CONTEXT))
    except DecryptionError:
        raise other_key() from None


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
