"""Encrypted backups: what the two files hold, who can open them, and the atomic way back.

``<name>`` is a :mod:`sealed file <adyton.sms.backup.sealedfile>` of all rows under a random key of its own.
``<name>.key`` is canonical JSON: format, version, time, numbers of rows, size and SHA-256 of the data, the audit log's
head, the measurement that wrote it where that is known, id and generation of the database key it is made for, and two
keys wrapped under one derived from that: the random one, and that of the marks of used signatures. Every other member
is bound to the wrapped keys as associated data.

The CAS gives the database key to one measurement that attested, or to a successor that was approved to carry on with
it, and it is nowhere else; so a backup opens only in this very build of the service or that successor, on a platform
that this CAS accepts, and only until the key is exchanged. Neither the operator nor whoever finds the files can open
it.

Not in a backup: the audit log, which only ever grows. A restore adds a line to it with the head that the backup names.
"""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from sqlalchemy import Connection

from adyton.base.aead import KEY_BYTES, DecryptionError, decrypt, encrypt, new_key
from adyton.base.canonical import canonical_json
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import InputError
from adyton.base.jsontext import parse_json
from adyton.base.secret import Secret
from adyton.sms.audit import AuditLog
from adyton.sms.backup.rowstream import RowStream
from adyton.sms.backup.sealedfile import SealedFileError, SealingWriter, open_sealed
from adyton.sms.errors import BackupError
from adyton.sms.store.database import Database

FORMAT: Final = "adyton-sms-backup"
VERSION: Final = 2
_MAX_HEADER: Final = 4096
_BLOCK: Final = 1 << 20
_WRAP: Final = "sms/backup"
_Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]*$", max_length=256)]


class BackupFormatError(BackupError):
    """The file is no backup of this service, or its header is cut."""

    code = "sms.backup.format"


class BackupVersionError(BackupError):
    """The backup is of another version of the format."""

    code = "sms.backup.version"


class BackupMeasurementError(BackupError):
    """Another build of the service made the backup; its rows are closed to this one."""

    code = "sms.backup.measurement"


class BackupKeyError(BackupError):
    """The backup was made with another database key: with another CAS, or another session in it."""

    code = "sms.backup.key"


class BackupExchangedError(BackupError):
    """The backup was made before the database key was exchanged; its key is gone, and nobody can open it again."""

    code = "sms.backup.exchanged"


class BackupEditedError(BackupError):
    """The backup's header is not the one that was written."""

    code = "sms.backup.edited"


class BackupTruncatedError(BackupError):
    """The backup's data end too early."""

    code = "sms.backup.truncated"


class BackupDamagedError(BackupError):
    """The backup's data are not what was written."""

    code = "sms.backup.damaged"


class _Header(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal["adyton-sms-backup"]
    version: Literal[2]
    created: str
    measurement: _Hex
    key_id: _Hex
    generation: int
    rows: dict[str, int]
    size: int
    sha256: _Hex
    audit_seq: int
    audit_head: _Hex
    wrapped_key: _Hex

    def bound(self) -> bytes:
        """What the wrapped key is bound to: everything else."""
        return canonical_json(self.model_dump(exclude={"wrapped_key"}))


class SealedArchive:
    """:class:`adyton.sms.backup.backups.BackupArchive` of a database.

    Args:
        database: whose rows are written and replaced.
        audit: says when a backup was made or restored.
        measurement: MRENCLAVE of this process, hex; empty where it is not an enclave.
        clock: source of time.
    """

    def __init__(self, database: Database, audit: AuditLog, measurement: str = "", *, clock: Clock = utc_now) -> None:
        self._database = database
        self._audit = audit
        self._measurement = measurement
        self._clock = clock
        self._rows = RowStream(database)

    def write(self, data: Path, key: Path) -> None:
        """Write a backup of one state of the database, while it is being used; the files are new.

        Raises:
            DatabaseRowError: a row does not open.
            StoreError: the database failed.
            OSError: a file could not be written.
        """
        file_key = new_key()
        with os.fdopen(_create(data), "wb") as stream, self._database.snapshot() as db:
            writer = SealingWriter(stream, file_key)
            rows = self._rows.dump(db, writer)
            writer.finish()
            head = self._database.audit_head(db)
        members: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "created": self._clock().isoformat(),
            "measurement": self._measurement,
            "key_id": self._key_id(),
            "generation": self._database.generation,
            "rows": rows,
            "size": writer.size,
            "sha256": writer.digest,
            "audit_seq": 0 if head is None else head.seq,
            "audit_head": "" if head is None else head.hash,
        }
        keys = Secret(file_key.reveal() + self._database.write_key.reveal())
        wrapped = encrypt(self._database.derive(_WRAP), keys.reveal(), canonical_json(members))
        with os.fdopen(_create(key), "wb") as stream:
            stream.write(canonical_json(members | {"wrapped_key": wrapped.hex()}))
        self._audit.released("backup.created", sha256=writer.digest, rows=str(sum(rows.values())))

    def read(self, data: Path, key: Path) -> None:
        """Put the database into the backup's state in one transaction, or leave it as it was.

        Raises:
            BackupFormatError, BackupVersionError, BackupMeasurementError, BackupKeyError, BackupExchangedError,
            BackupEditedError, BackupTruncatedError, BackupDamagedError: as named.
            StoreError: the database failed.
            OSError: a file could not be read.
        """
        header = self._header(key)
        file_key, write_key = self._unwrap(header)
        with data.open("rb") as stream:
            _check_data(stream.fileno(), header)

            def work(db: Connection) -> None:
                try:
                    rows = self._rows.load(db, open_sealed(stream, file_key))
                except SealedFileError as error:
                    raise BackupDamagedError(error.message) from None
                if rows != header.rows:
                    raise BackupDamagedError("the backup does not hold as many rows as its header says")
                self._database.restored(db, write_key)

            self._database.write(work, self._line(header))
        self._database.refresh()

    def _header(self, file: Path) -> _Header:
        with file.open("rb") as stream:
            content = stream.read(_MAX_HEADER + 1)
        try:
            document = parse_json(content)
        except ValueError:
            document = None
        if len(content) > _MAX_HEADER or not isinstance(document, dict) or document.get("format") != FORMAT:
            raise BackupFormatError(f"{file.name} is not the key file of a backup of this service")
        if document.get("version") != VERSION:
            raise BackupVersionError(
                f"the backup's format has version {str(document.get('version'))[:20]}, this service reads {VERSION}",
                hint="restore it with the release that made it",
            )
        try:
            header = _Header.model_validate(document)
            datetime.fromisoformat(header.created)
        except (ValidationError, ValueError):
            raise BackupFormatError(f"{file.name} lacks members or has wrong ones") from None
        return header

    def _unwrap(self, header: _Header) -> tuple[Secret[bytes], Secret[bytes]]:
        """The keys of the file and of the marks of used signatures."""
        if header.key_id != self._key_id():
            raise self._closed(header)
        try:
            keys = decrypt(self._database.derive(_WRAP), bytes.fromhex(header.wrapped_key), header.bound())
        except (DecryptionError, InputError, ValueError):
            raise BackupEditedError("the header of the backup is not the one that was written") from None
        return Secret(keys[:KEY_BYTES]), Secret(keys[KEY_BYTES:])

    def _closed(self, header: _Header) -> BackupError:
        """Why this process does not have the key that the header names, as far as the header can be believed."""
        if header.measurement != self._measurement:
            made, here = header.measurement or "unknown", self._measurement or "unknown"
            return BackupMeasurementError(
                f"the backup was made by the build of the service with MRENCLAVE {made}, this one has {here}",
                hint="start the release that made the backup; its data are closed to every other one",
            )
        if header.generation < self._database.generation:
            return BackupExchangedError(
                f"the backup is under generation {header.generation} of the database key; it was exchanged since, and"
                f" generation {self._database.generation} holds",
                hint="restore a newer backup; make one after every exchange of the keys",
            )
        return BackupKeyError(
            f"the backup is for the database key {header.key_id[:16]}, this service has {self._key_id()[:16]}",
            hint="start the service with the CAS, and the CAS session, that it had when the backup was made",
        )

    def _key_id(self) -> str:
        return self._database.derive("sms/backup-key-id").reveal()[:16].hex()

    def _line(self, header: _Header) -> str:
        return self._audit.line(
            "backup.restored",
            created=header.created,
            sha256=header.sha256,
            rows=str(sum(header.rows.values())),
            audit_seq=str(header.audit_seq),
            audit_head=header.audit_head,
        )


def _create(file: Path) -> int:
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _check_data(descriptor: int, header: _Header) -> None:
    """Hold the whole file against the header before anything is locked for it."""
    size = os.fstat(descriptor).st_size
    if size < header.size:
        raise BackupTruncatedError(f"the backup has {size} bytes of {header.size}")
    digest, at = hashlib.sha256(), 0
    while block := os.pread(descriptor, _BLOCK, at):
        digest.update(block)
        at += len(block)
    if size != header.size or digest.hexdigest() != header.sha256:
        raise BackupDamagedError("the data of the backup are not what its header describes")
