"""The database key: given by the CAS as a file, read once, and removed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from adyton.base.aead import KEY_BYTES
from adyton.base.secret import Secret
from adyton.sms.errors import DatabaseKeyError

_MAX_FILE_BYTES: Final = 1024


def read_database_key(file: Path) -> Secret[bytes]:
    """Read the key, hex of 32 bytes, and unlink its file, so that nothing started later finds it.

    Raises:
        DatabaseKeyError: no such file, or not such a key; the file is left alone then.
    """
    try:
        with file.open("rb") as stream:
            text = stream.read(_MAX_FILE_BYTES).decode("ascii", errors="replace").strip()
        raw = bytes.fromhex(text.removeprefix("0x"))
    except OSError as error:
        raise DatabaseKeyError(
            f"the database key cannot be read from {file}: {error.strerror}",
            hint="the CAS injects this file into the service's enclave; set database_key_file where it lies elsewhere",
        ) from error
    except ValueError:
        raise DatabaseKeyError(f"the database key in {file} is not hex text") from None
    if len(raw) != KEY_BYTES:
        raise DatabaseKeyError(f"the database key in {file} has {len(raw)} bytes, not {KEY_BYTES}")
    try:
        file.unlink()
    except OSError as error:
        raise DatabaseKeyError(f"the database key's file {file} cannot be removed: {error.strerror}") from error
    return Secret(raw)
