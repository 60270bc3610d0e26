"""The database key: given by the CAS as a file in enclave memory, read once, overwritten and removed.

The key is then in one place, the value that this returns, and is never written anywhere. Python cannot overwrite that
value: it goes with the process, whose memory no core file gets (:func:`adyton.base.process.forbid_dumps`).
"""

from __future__ import annotations

import binascii
import os
from pathlib import Path
from typing import Final

from adyton.base.aead import KEY_BYTES
from adyton.base.secret import Secret
from adyton.sms.errors import DatabaseKeyError

_MAX_FILE_BYTES: Final = 1024
_SPACE: Final = b" \t\r\n"


def read_database_key(file: Path) -> Secret[bytes]:
    """Read the key, hex of 32 bytes, and unlink its file, so that nothing started later finds it.

    Raises:
        DatabaseKeyError: no such file, or not such a key; the file is left alone then.
    """
    buffer = bytearray(_MAX_FILE_BYTES)  # the only copy of the text, overwritten below
    try:
        with file.open("rb", buffering=0) as stream:
            size = stream.readinto(buffer) or 0
        raw = _parse(buffer, size)
    except OSError as error:
        raise DatabaseKeyError(
            f"the database key cannot be read from {file}: {error.strerror}",
            hint="the CAS injects this file into the service's enclave; set database_key_file where it lies elsewhere",
        ) from error
    except ValueError:
        raise DatabaseKeyError(f"the database key in {file} is not hex text") from None
    finally:
        buffer[:] = bytes(len(buffer))
    if len(raw) != KEY_BYTES:
        raise DatabaseKeyError(f"the database key in {file} has {len(raw)} bytes, not {KEY_BYTES}")
    try:
        _overwrite(file, size)
        file.unlink()
    except OSError as error:
        raise DatabaseKeyError(f"the database key's file {file} cannot be removed: {error.strerror}") from error
    return Secret(raw)


def _parse(buffer: bytearray, size: int) -> bytes:
    start, end = 0, size
    while start < end and buffer[start] in _SPACE:
        start += 1
    while start < end and buffer[end - 1] in _SPACE:
        end -= 1
    if buffer.startswith(b"0x", start, end):
        start += 2
    with memoryview(buffer) as view:
        return binascii.a2b_hex(view[start:end])


def _overwrite(file: Path, size: int) -> None:
    """Zero the bytes themselves: what an unlinked file held stays on its disk or in memory until that is reused."""
    with file.open("r+b", buffering=0) as stream:
        stream.write(bytes(size))
        os.fsync(stream.fileno())
