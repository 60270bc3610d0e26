"""Content identifiers and files as Kubo makes them."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from adyton.base.errors import NotFoundError
from adyton.content.blocks import BlockStore
from adyton.content.cid import DAG_PB, RAW, Cid
from adyton.content.errors import ContentError, DigestError, LimitError
from adyton.content.unixfs import CHUNK_BYTES, decode_node, file_size, import_file, read_entry, read_file

# "hello world\n": stack reference 7; the empty file: Kubo's well-known name of it
VECTORS = [
    (b"hello world\n", 0, "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"),
    (b"hello world\n", 1, "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"),
    (b"", 0, "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"),
]


@pytest.fixture
def store(tmp_path: Path) -> BlockStore:
    return BlockStore(tmp_path)


@pytest.mark.parametrize(("data", "version", "name"), VECTORS)
def test_vectors(store: BlockStore, data: bytes, version: int, name: str) -> None:
    assert str(import_file(data, store, version=version)) == name
    assert b"".join(read_file(Cid.parse(name), store)) == data


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("size", [1, 9, 10, 11, 1740, 1741, 3490])
def test_files_of_many_chunks_are_read_back(store: BlockStore, size: int, version: int) -> None:
    data = bytes(index * 7 % 251 for index in range(size))
    cid = import_file(data, store, version=version, chunk=10)
    assert b"".join(read_file(cid, store)) == data
    assert file_size(cid, store) == size
    assert Cid.parse(str(cid)) == cid
    assert cid.version == version


def test_the_dag_is_balanced(store: BlockStore) -> None:
    cid = import_file(bytes(range(176)), store, chunk=1)
    root = read_entry(cid, store)
    assert [size for _, size in root.links] == [174, 2]  # a lone tail still gets its own node
    full = read_entry(import_file(bytes(range(174)), store, chunk=1), store)
    assert len(full.links) == 174


class Dribble(io.BytesIO):
    """A stream that delivers in small pieces, as sockets do."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 1000))


def test_chunk_borders_do_not_depend_on_the_stream(store: BlockStore) -> None:
    data = bytes(300_000)
    assert import_file(Dribble(data), store) == import_file(data, store)
    assert len(read_entry(import_file(data, store), store).links) == 2
    assert CHUNK_BYTES == 262_144


def test_nodes_are_what_the_official_codec_makes(store: BlockStore) -> None:
    """The official client's JavaScript codecs decode and re-encode our root to the same bytes."""
    node, modules = shutil.which("node"), Path(__file__).parents[2] / "node_modules"
    if node is None or not (modules / "@ipld/dag-pb").is_dir() or not (modules / "ipfs-unixfs").is_dir():
        pytest.skip("needs node and the npm packages: 'make setup' installs them")
    cid = import_file(bytes(700_000), store)
    block = store.get(cid)
    script = """
        import * as pb from '@ipld/dag-pb';
        import { UnixFS } from 'ipfs-unixfs';
        import { CID } from 'multiformats/cid';
        import { sha256 } from 'multiformats/hashes/sha2';
        const block = Buffer.from(process.argv[1], 'hex');
        const node = pb.decode(block);
        const file = UnixFS.unmarshal(node.Data);
        const again = pb.encode(pb.prepare({ Data: file.marshal(), Links: node.Links }));
        const cid = CID.createV0(await sha256.digest(block));
        console.log(JSON.stringify({
            cid: cid.toString(), same: Buffer.compare(Buffer.from(again), block) === 0,
            size: Number(file.fileSize()), links: node.Links.map((link) => link.Hash.toString()),
            total: node.Links.reduce((sum, link) => sum + link.Tsize, block.length),
        }));
    """
    done = subprocess.run(
        [node, "--input-type=module", "-e", script, block.hex()],
        capture_output=True,
        text=True,
        check=True,
        cwd=modules.parent,
    )
    found = json.loads(done.stdout)
    entry = read_entry(cid, store)
    assert found == {
        "cid": str(cid),
        "same": True,
        "size": 700_000,
        "links": [str(link) for link, _ in entry.links],
        "total": entry.total_size,
    }


def test_a_damaged_block_is_found(store: BlockStore, tmp_path: Path) -> None:
    cid = import_file(b"content", store)
    path = next(path for path in tmp_path.rglob("*") if path.is_file())
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(DigestError):
        list(read_file(cid, store))
    import_file(b"content", store)  # adding it again repairs it
    assert b"".join(read_file(cid, store)) == b"content"


def test_a_missing_block_is_named(store: BlockStore) -> None:
    with pytest.raises(NotFoundError, match="QmT78"):
        list(read_file(Cid.parse(VECTORS[0][2]), store))


def test_only_what_the_name_says_is_stored(store: BlockStore) -> None:
    with pytest.raises(DigestError):
        store.put(Cid.of(b"a", codec=RAW, version=1), b"b")
    big = bytes((2 << 20) + 1)
    with pytest.raises(LimitError):
        store.put(Cid.of(big, codec=RAW, version=1), big)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Qm",
        "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5O",  # O is no base58 digit
        "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5oo",
        "BAFKREIFJJCIE6LYPI6NY7AMXNFFTAGCLBUXNDQONFIPMB64F2KM2DEVEI4",
        "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei5",  # trailing bits
        "bafkrei",
        "b../../etc/passwd",
        "../../etc/passwd",
        "zQmT78",
    ],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ContentError):
        Cid.parse(text)


FILE = bytes.fromhex("0a0608021200")  # prefix of a dag-pb node, cut
MALFORMED = {
    "cut": FILE,
    "folder": bytes.fromhex("0a020801"),
    "no data": b"",
    "sizes do not add up": bytes.fromhex("0a0408021805"),
    "unknown field": bytes.fromhex("1a00"),
    "fixed64 field": bytes.fromhex("0900"),
    "endless number": b"\x0a" + b"\xff" * 12,
    "link without hash": bytes.fromhex("12020000") + bytes.fromhex("0a0408021800"),
    "size of no link": bytes.fromhex("0a06080218012001"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_blocks_that_are_refused(name: str) -> None:
    with pytest.raises(ContentError):
        decode_node(MALFORMED[name])


def test_a_lying_parent_is_found(store: BlockStore) -> None:
    """A node that announces another size for its child than the child has."""
    child = import_file(b"four", store)
    unixfs = bytes.fromhex("080218052005")
    link = b"\x0a\x22" + child.to_bytes() + b"\x12\x00\x18\x0c"
    block = b"\x12" + bytes([len(link)]) + link + b"\x0a" + bytes([len(unixfs)]) + unixfs
    cid = Cid.of(block, codec=DAG_PB, version=0)
    store.put(cid, block)
    with pytest.raises(ContentError, match="announced"):
        list(read_file(cid, store))
