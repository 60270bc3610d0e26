"""A folder of blocks by their hash: written atomically, verified on every read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from adyton.base.errors import NotFoundError
from adyton.base.files import write_atomic
from adyton.content.cid import Cid
from adyton.content.errors import DigestError, LimitError

MAX_BLOCK_BYTES = 2 << 20  # what IPFS peers exchange at most (Bitswap)


class BlockMissingError(NotFoundError):
    """The store has no such block."""

    code = "content.block.missing"


class Blocks(Protocol):
    """Where blocks are kept."""

    def put(self, cid: Cid, data: bytes) -> None:
        """Keep a block under its name."""

    def get(self, cid: Cid) -> bytes:
        """The block of that name."""


class BlockStore:
    """Blocks as files, in sub-folders by the first byte of the digest.

    Args:
        folder: made when the first block is put.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, cid: Cid, data: bytes) -> None:
        """Keep ``data`` durably; a block that is there already, and whole, is left alone.

        Raises:
            DigestError: ``data`` is not what ``cid`` names.
            LimitError: larger than any block may be.
        """
        if len(data) > MAX_BLOCK_BYTES:
            raise LimitError(f"a block of {len(data)} bytes; at most {MAX_BLOCK_BYTES} are allowed")
        if hashlib.sha256(data).digest() != cid.digest:
            raise DigestError(f"the block is not the content of {cid}")
        path = self._path(cid)
        if not path.is_file() or path.read_bytes() != data:
            write_atomic(path, data)

    def get(self, cid: Cid) -> bytes:
        """The block named ``cid``.

        Raises:
            BlockMissingError: not here.
            DigestError: the file on disk has been altered.
        """
        try:
            data = self._path(cid).read_bytes()
        except FileNotFoundError:
            raise BlockMissingError(f"block {cid} is not here") from None
        if hashlib.sha256(data).digest() != cid.digest:
            raise DigestError(f"the stored block {cid} is damaged", hint="delete the file and add the content again")
        return data

    def has(self, cid: Cid) -> bool:
        """Whether the block is here (not whether it is undamaged)."""
        return self._path(cid).is_file()

    def _path(self, cid: Cid) -> Path:
        name = cid.digest.hex()
        return self._folder / name[:2] / name
