"""Files from a gateway that lies, against a real HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from adyton.content.cid import Cid
from adyton.content.unixfs import import_file
from adyton.sms.errors import BulkError
from adyton.sms.opening.ipfs_gateway import MAX_FILE_BYTES, IpfsGateway

CONTENT = b'["QmSlice"]' * 1000


class Blocks:
    """Blocks in memory."""

    def __init__(self) -> None:
        self.blocks: dict[Cid, bytes] = {}

    def put(self, cid: Cid, data: bytes) -> None:
        self.blocks[cid] = data

    def get(self, cid: Cid) -> bytes:
        return self.blocks[cid]


class Gateway(ThreadingHTTPServer):
    """Answers by ``(path, wants a block)``."""

    files: dict[str, bytes]
    blocks: dict[str, bytes]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.blocks = {}, {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        name = self.path.removeprefix("/ipfs/")
        raw = self.headers.get("Accept") == "application/vnd.ipld.raw"
        body = (self.server.blocks if raw and self.server.blocks else self.server.files).get(name)
        self.send_response(404 if body is None else 200)
        self.end_headers()
        with suppress(OSError):  # the client had enough
            self.wfile.write(body or b"")

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Gateway]:
    with Gateway() as started:
        thread = threading.Thread(target=started.serve_forever, args=(0.01,))
        thread.start()
        yield started
        started.shutdown()
        thread.join()


@pytest.fixture
def gateway(server: Gateway) -> Iterator[IpfsGateway]:
    opened = IpfsGateway(server.url)
    yield opened
    opened.close()


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("content", [CONTENT, b"", b"x" * 600_000], ids=["small", "empty", "three chunks"])
def test_a_file_served_whole(server: Gateway, gateway: IpfsGateway, version: int, content: bytes) -> None:
    cid = str(import_file(content, Blocks(), version=version))
    server.files[cid] = content
    assert gateway.file(cid) == content


@pytest.mark.parametrize("version", [0, 1])
def test_a_file_of_unusual_blocks_is_fetched_by_block(server: Gateway, gateway: IpfsGateway, version: int) -> None:
    blocks = Blocks()
    cid = str(import_file(CONTENT, blocks, version=version, chunk=1000))
    server.files[cid] = CONTENT
    server.blocks = {str(name): data for name, data in blocks.blocks.items()}
    assert gateway.file(cid) == CONTENT
    victim = next(name for name in server.blocks if name != cid)
    server.blocks[victim] = server.blocks[victim][:-1] + b"!"
    with pytest.raises(BulkError) as caught:
        gateway.file(cid)
    assert caught.value.code == "sms.bulk.content"


@pytest.mark.parametrize("version", [0, 1])
def test_other_content_is_refused(server: Gateway, gateway: IpfsGateway, version: int) -> None:
    cid = str(import_file(CONTENT, Blocks(), version=version))
    server.files[cid] = CONTENT + b" "
    with pytest.raises(BulkError) as caught:
        gateway.file(cid)
    assert caught.value.code == "sms.bulk.content"


def test_too_many_blocks(server: Gateway, gateway: IpfsGateway) -> None:
    blocks = Blocks()
    cid = str(import_file(CONTENT, blocks, chunk=100))
    server.files[cid] = b""
    server.blocks = {str(name): data for name, data in blocks.blocks.items()}
    with pytest.raises(BulkError):
        gateway.file(cid)


def test_too_much(server: Gateway, gateway: IpfsGateway) -> None:
    cid = str(import_file(CONTENT, Blocks()))
    server.files[cid] = bytes(MAX_FILE_BYTES + 1)
    with pytest.raises(BulkError) as caught:
        gateway.file(cid)
    assert caught.value.code == "sms.bulk.size"


@pytest.mark.parametrize("name", ["", "Qm", "../../etc/passwd", "bafy", "Qm" + "0" * 44, "zb2rhe"])
def test_what_is_no_cid_is_not_asked_for(gateway: IpfsGateway, name: str) -> None:
    with pytest.raises(BulkError) as caught:
        gateway.file(name)
    assert caught.value.code == "sms.bulk.cid"


def test_a_missing_file_and_a_dead_gateway(server: Gateway, gateway: IpfsGateway) -> None:
    cid = str(import_file(CONTENT, Blocks()))
    with pytest.raises(BulkError) as caught:
        gateway.file(cid)
    assert caught.value.code == "sms.bulk.gateway"
    dead = IpfsGateway("http://127.0.0.1:1")
    with pytest.raises(BulkError) as caught:
        dead.file(cid)
    assert caught.value.code == "sms.bulk.gateway"
    dead.close()
    assert server.files == {}
