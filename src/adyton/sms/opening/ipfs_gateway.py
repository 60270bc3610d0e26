"""Small files from an IPFS gateway that is not trusted: every byte is checked against the CID.

Most gateways answer a plain ``GET /ipfs/<cid>`` with the file. It is the right one if importing it again gives the same
CID, which holds for files made with the usual settings. Else the blocks are asked for one by one
(``Accept: application/vnd.ipld.raw``, https://specs.ipfs.tech/http-gateways/trustless-gateway/) and each one is hashed.
"""

from __future__ import annotations

import time
from typing import Final

import httpx2

from adyton.content.blocks import MAX_BLOCK_BYTES, BlockMissingError
from adyton.content.cid import Cid
from adyton.content.errors import ContentError
from adyton.content.unixfs import import_file, read_file
from adyton.sms.errors import BulkError

MAX_FILE_BYTES: Final = 4 << 20
_MAX_BLOCKS: Final = 64
_TIMEOUT_S: Final = 5.0
_ANSWER_S: Final = 10.0
_RAW: Final = {"Accept": "application/vnd.ipld.raw"}


class IpfsGateway:
    """One gateway.

    Args:
        url: its address, without ``/ipfs``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = httpx2.Client(timeout=_TIMEOUT_S, trust_env=False, follow_redirects=True, max_redirects=3)

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def file(self, name: str) -> bytes:
        """The file that a CID names.

        Raises:
            BulkError: no CID, no answer, too large, or not the content of that name.
        """
        try:
            cid = Cid.parse(name)
        except ContentError as error:
            raise BulkError(error.message, code="sms.bulk.cid") from error
        whole = self._get(cid, {}, MAX_FILE_BYTES)
        if import_file(whole, _Memory(), version=cid.version) == cid:
            return whole
        try:
            return self._by_blocks(cid)
        except (ContentError, BlockMissingError) as error:
            raise BulkError(
                f"what the gateway gives for {cid} is not the content of that name", code="sms.bulk.content"
            ) from error

    def _by_blocks(self, cid: Cid) -> bytes:
        found = bytearray()
        for piece in read_file(cid, _Remote(self)):
            found += piece
            if len(found) > MAX_FILE_BYTES:
                raise BulkError(f"{cid} is larger than {MAX_FILE_BYTES} bytes", code="sms.bulk.size")
        return bytes(found)

    def block(self, cid: Cid) -> bytes:
        """One block, not yet checked.

        Raises:
            BulkError: no answer, or larger than any block may be.
        """
        return self._get(cid, _RAW, MAX_BLOCK_BYTES)

    def _get(self, cid: Cid, headers: dict[str, str], limit: int) -> bytes:
        found, deadline = bytearray(), time.monotonic() + _ANSWER_S
        try:
            with self._http.stream("GET", f"{self._url}/ipfs/{cid}", headers=headers) as response:
                if response.status_code != httpx2.codes.OK:
                    raise BulkError(
                        f"the IPFS gateway answered {response.status_code} for {cid}", code="sms.bulk.gateway"
                    )
                for piece in response.iter_bytes():
                    found += piece
                    if len(found) > limit:
                        raise BulkError(f"{cid} is larger than {limit} bytes", code="sms.bulk.size")
                    if time.monotonic() > deadline:  # a server that drips keeps every single time-out
                        raise BulkError(f"the IPFS gateway is too slow with {cid}", code="sms.bulk.gateway")
        except httpx2.HTTPError as error:
            raise BulkError(
                f"the IPFS gateway does not give {cid}: {type(error).__name__}", code="sms.bulk.gateway"
            ) from error
        return bytes(found)


class _Memory:
    """Takes the blocks of an import; only the name of the last one is of interest."""

    def put(self, cid: Cid, data: bytes) -> None:
        """Forget the block."""

    def get(self, cid: Cid) -> bytes:
        """Nothing is here.

        Raises:
            BlockMissingError: always.
        """
        raise BlockMissingError(f"block {cid} is not kept")


class _Remote:
    """Blocks of a gateway, each checked against its name."""

    def __init__(self, gateway: IpfsGateway) -> None:
        self._gateway = gateway
        self._left = _MAX_BLOCKS

    def put(self, cid: Cid, data: bytes) -> None:
        """Nothing is stored here.

        Raises:
            ContentError: always.
        """
        raise ContentError(f"{len(data)} bytes for {cid}: a gateway is only read", code="content.readonly")

    def get(self, cid: Cid) -> bytes:
        """The block of that name.

        Raises:
            ContentError: too many blocks, or other content.
            BulkError: the gateway does not give it.
        """
        self._left -= 1
        if self._left < 0:
            raise ContentError(f"more than {_MAX_BLOCKS} blocks", code="content.limit")
        data = self._gateway.block(cid)
        if Cid.of(data, codec=cid.codec, version=cid.version) != cid:
            raise ContentError(f"the block is not the content of {cid}", code="content.digest")
        return data
