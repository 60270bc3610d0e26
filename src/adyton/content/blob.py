"""One blob of known SHA-256 and size, wherever its bytes lie; every way to read it verifies both."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from adyton.content.errors import ContentError, DigestError, LimitError

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK_BYTES = 1 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def parse_digest(text: object) -> str:
    """Return ``text`` when it is ``sha256:`` and 64 lowercase hex digits (OCI image spec, descriptor digests).

    Raises:
        ContentError: another algorithm or form.
    """
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise ContentError(f"{text!r} is not a sha256 digest", code="content.digest_form")
    return text


def sha256_digest(data: bytes) -> str:
    """The digest text of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


class VerifyingReader(io.RawIOBase):
    """Reads a stream and, at its end, refuses it unless digest and size are the expected ones.

    Args:
        stream: where the bytes come from; closed with this reader.
        digest: expected ``sha256:…``.
        size: expected number of bytes; None when only the digest is known.
        limit: most bytes that are read at all.
    """

    def __init__(self, stream: BinaryIO, digest: str, size: int | None, *, limit: int | None = None) -> None:
        super().__init__()
        self._stream = stream
        self._digest = digest
        self._size = size
        self._limit = limit
        self._hash = hashlib.sha256()
        self._seen = 0
        self._ended = False

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill ``buffer``; at the end of the stream verify what has passed.

        Raises:
            DigestError: the stream is not the expected content.
            LimitError: more bytes than allowed.
        """
        view = memoryview(buffer).cast("B")
        data = self._stream.read(len(view))
        view[: len(data)] = data
        self._hash.update(data)
        self._seen += len(data)
        if self._size is not None and self._seen > self._size:
            raise DigestError(f"{self._digest} is longer than its {self._size} bytes", code="content.size")
        if self._limit is not None and self._seen > self._limit:
            raise LimitError(f"{self._digest} has more than {self._limit} bytes")
        if not data and len(view) and not self._ended:
            self._ended = True
            self._check()
        return len(data)

    def drain(self) -> None:
        """Read the rest, so that all of it is verified.

        Raises:
            DigestError: as :meth:`readinto`.
        """
        while self.read(CHUNK_BYTES):
            pass

    def close(self) -> None:
        """Close the stream below too."""
        self._stream.close()
        super().close()

    def _check(self) -> None:
        if self._size is not None and self._seen != self._size:
            raise DigestError(f"{self._digest} has {self._seen} bytes, not {self._size}", code="content.size")
        found = "sha256:" + self._hash.hexdigest()
        if found != self._digest:
            raise DigestError(f"content named {self._digest} hashes to {found}")


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes named by their digest, in memory, in a file, or in a stretch of a file (a tar archive's member).

    Attributes:
        digest: ``sha256:…`` of the bytes.
        size: number of bytes.
        source: the bytes, or the file that holds them.
        offset: where in the file they begin.
    """

    digest: str
    size: int
    source: Path | bytes
    offset: int = 0

    @classmethod
    def of(cls, source: Path | bytes) -> Blob:
        """Name ``source`` by hashing it.

        Raises:
            ContentError: the file cannot be read.
        """
        if isinstance(source, bytes):
            return cls(sha256_digest(source), len(source), source)
        try:
            with source.open("rb") as stream:
                digest = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
            return cls(digest, source.stat().st_size, source)
        except OSError as error:
            raise ContentError(f"cannot read {source}: {error.strerror}", code="content.file") from error

    def open(self) -> VerifyingReader:
        """A reader that verifies digest and size at its end.

        Raises:
            ContentError: the file is gone.
        """
        if isinstance(self.source, bytes):
            return VerifyingReader(io.BytesIO(self.source), self.digest, self.size)
        try:
            stream = self.source.open("rb")
        except OSError as error:
            raise ContentError(f"cannot read {self.digest}: {error.strerror}", code="content.file") from error
        stream.seek(self.offset)
        stretch = cast("BinaryIO", _Stretch(stream, self.size)) if self.offset else stream
        return VerifyingReader(stretch, self.digest, self.size)

    def chunks(self) -> Iterator[bytes]:
        """All bytes, in pieces; complete only when the iterator ends without an error.

        Raises:
            DigestError: the bytes are not the named ones.
        """
        with self.open() as reader:
            while data := reader.read(CHUNK_BYTES):
                yield data

    def read(self, limit: int) -> bytes:
        """All bytes at once, verified.

        Raises:
            LimitError: more than ``limit``.
            DigestError: the bytes are not the named ones.
        """
        if self.size > limit:
            raise LimitError(f"{self.digest} has {self.size} bytes; at most {limit} are read at once")
        return b"".join(self.chunks())


class _Stretch(io.RawIOBase):
    """The next ``size`` bytes of a file as a stream of their own."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._stream.read(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
