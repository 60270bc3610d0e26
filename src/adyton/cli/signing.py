"""What commands that sign have in common: the key's file, its passphrase, and the day of the signature.

A passphrase comes from a terminal, without echo, or from a private file or inherited descriptor (``/dev/fd/N``, a
shell's ``<(…)``). There is no option and no variable that holds one: other processes read those.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from adyton.base.errors import InputError
from adyton.base.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

MAX_PASSPHRASE_BYTES: Final = 1024  # what OpenSSL takes


def open_signer(pem: Path, passphrase_file: Path | None) -> rsa.RSAPrivateKey:
    """Read a signer key, asking for its passphrase where one is needed; warns on standard error of an exposed file.

    Raises:
        SignerKeyError: the key is not usable, or does not open.
        InputError: the passphrase file is not usable.
    """
    from adyton.enclave.signer import SignerFile  # noqa: PLC0415  # heavy

    file = SignerFile.read(pem)
    if file.exposed:
        sys.stderr.write(f"warning: others can read the signer key {pem}; make it yours alone: chmod 600 {pem}\n")
    passphrase = None
    if passphrase_file is not None:
        passphrase = read_passphrase(passphrase_file)
    elif file.encrypted and sys.stdin.isatty():
        passphrase = _ask(f"Passphrase of {pem}: ")
    return file.open(passphrase)


@contextlib.contextmanager
def make_key_file(file: Path) -> Iterator[BinaryIO]:
    """Make the private file of a new key, which must not be there; it is gone again if the key is not made.

    Raises:
        InputError: it exists, or cannot be made or written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise InputError(
            f"{file} exists", code="enclave.key.exists", hint="choose another name; keys are never replaced"
        ) from error
    except OSError as error:
        raise _unwritten(file, error) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException as error:
        file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritten(file, error) from error
        raise


def _unwritten(file: Path, error: OSError) -> InputError:
    return InputError(f"cannot write the key file {file}: {error.strerror}", code="enclave.key.file")


def new_passphrase(passphrase_file: Path | None) -> Secret[str]:
    """The passphrase of a key to be made: from the file, or typed twice.

    Raises:
        InputError: nobody can type it, the two differ, or it is empty.
    """
    if passphrase_file is not None:
        return read_passphrase(passphrase_file)
    if not sys.stdin.isatty():
        raise InputError(
            "no terminal to ask for the new key's passphrase",
            code="signing.passphrase.terminal",
            hint="name a private file that holds it: --passphrase-file FILE",
        )
    first = _ask("Passphrase for the new key: ")
    if not first or first != _ask("The same again: "):
        raise InputError("the two passphrases differ, or are empty", code="signing.passphrase.mismatch")
    return first


def read_passphrase(file: Path) -> Secret[str]:
    """The first line of a private file, or of a pipe, without its line end.

    Raises:
        InputError: unreadable, open to others, empty, too long, or not UTF-8.
    """
    try:
        with file.open("rb") as stream:
            status = os.fstat(stream.fileno())
            line = stream.readline(MAX_PASSPHRASE_BYTES + 3)
    except OSError as error:
        raise InputError(
            f"cannot read the passphrase file {file}: {error.strerror}", code="signing.passphrase.file"
        ) from error
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        raise InputError(
            f"others can read the passphrase file {file}",
            code="signing.passphrase.exposed",
            hint=f"make it yours alone: chmod 600 {file}",
        )
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    try:
        passphrase = Secret(line.decode())
    except UnicodeDecodeError:
        passphrase = Secret("")
    if not passphrase or len(line) > MAX_PASSPHRASE_BYTES:
        raise InputError(
            f"the first line of {file} is no passphrase of 1 to {MAX_PASSPHRASE_BYTES} bytes of UTF-8",
            code="signing.passphrase.file",
        )
    return passphrase


def signing_date(text: str, environment: Mapping[str, str] = os.environ) -> date:
    """The day to record: ``YYYY-MM-DD``, else that of SOURCE_DATE_EPOCH (seconds since 1970, UTC), else today in UTC.

    https://reproducible-builds.org/specs/source-date-epoch/

    Raises:
        InputError: no such day.
    """
    epoch = environment.get("SOURCE_DATE_EPOCH", "")
    try:
        if text:
            return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
        return datetime.fromtimestamp(int(epoch), UTC).date() if epoch else datetime.now(UTC).date()
    except (ValueError, OverflowError, OSError) as error:
        given = f"--date {text}" if text else f"SOURCE_DATE_EPOCH={epoch}"
        raise InputError(
            f"{given} is no day",
            code="signing.date",
            hint="write --date 2026-11-22, or SOURCE_DATE_EPOCH as seconds since 1970",
        ) from error


def _ask(question: str) -> Secret[str]:
    try:
        return Secret(getpass.getpass(question))
    except EOFError:
        return Secret("")
