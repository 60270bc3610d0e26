"""Multiaddresses: what the official client stores and shows, as observed from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adyton.chain.multiaddr import MultiaddrError, cid_multihash, decode, encode, to_bytes, to_text

CID = "QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ"
CID_BYTES = "12207237a7f4091a74ae95514890fa86a2e8a36037c350ea71c06a34c8cbe25a5057"
BINARY = {
    f"/ipfs/{CID}": ("a50322" + CID_BYTES, f"/p2p/{CID}"),
    f"/p2p/{CID}": ("a50322" + CID_BYTES, f"/p2p/{CID}"),
    f"/ipfs/{CID}/": ("a50322" + CID_BYTES, f"/p2p/{CID}"),
    "/ipfs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy": (
        "a503221220c7d01489080858c500065836c658f847a6ca67c4864619212be4f8200e4bbace",
        "/p2p/QmbndsLC1CSf3kfubGmxeRRJbNUbm3JjyKwV1iw4jStAgm",
    ),
    "/dns4/foo.com/tcp/443/https": ("3607666f6f2e636f6d0601bbbb03", None),
    "/ip4/127.0.0.1/tcp/80/http": ("047f000001060050e003", None),
    "/ip6/2001:db8::ff00:42:8329/tcp/1": ("2920010db8000000000000ff0000428329060001", None),
    "/ip4/1.2.3.4/udp/1/quic-v1": ("040102030491020001cd03", None),
    "//ip4/1.2.3.4": ("0401020304", "/ip4/1.2.3.4"),
    "/dns/h\u00e9\u00e9": ("350568c3a9c3a9", None),
    "/p2p-circuit": ("a202", None),
    "/ip4/1.2.3.4/ipcidr/24": ("04010203042b18", None),
    "/ipfs/12D3KooWD3bfmNbuuuVCYwkjnFt3ukm3qaB3hDED3peHHXawvRAi": (
        "a503260024080112202ff6e04f7fe61bbccc1b16ef70f79492eb1c98731b08b34dc29cab1abc7c945b",
        "/p2p/12D3KooWD3bfmNbuuuVCYwkjnFt3ukm3qaB3hDED3peHHXawvRAi",
    ),
    "": ("", "/"),
    "/": ("", "/"),
}
TEXT = [
    "docker.io/a/b:1",
    "iexechub/python-hello-world:8.0.4",
    "https://x.y/z",
    "/foo/bar",
    "/ipns/k51abc",
    f"/ipfs/{CID}/foo",
    "/ip4/1.2.3.4/tcp/70000",
    "/ip4/256.1.1.1",
    "/ip4/01.2.3.4",
    "/ip4/1.2.3.4/tcp/080",
    "/ip4/1.2.3.4/tcp",
    "/ip4/1.2.3.4/tcp/-1",
    "/p2p/foo",
    "/dns4/",
]


@pytest.mark.parametrize("text", BINARY)
def test_multiaddress_is_stored_in_binary(text: str) -> None:
    stored, shown = BINARY[text]
    assert to_bytes(text).hex() == stored
    assert to_text(bytes.fromhex(stored)) == (shown or text)


@pytest.mark.parametrize("text", TEXT)
def test_other_text_is_stored_as_utf8(text: str) -> None:
    assert to_bytes(text) == text.encode()
    assert to_text(text.encode()) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("ff", "\ufffd"),
        ("04", "\x04"),
        ("0401020304ff", "\x04\x01\x02\x03\x04\ufffd"),
        ("2f6970", "/ip"),
        ("01bb", "\x01\ufffd"),
        ("bb03", "/https"),
    ],
)
def test_damaged_bytes_read_as_text(raw: str, shown: str) -> None:
    assert to_text(bytes.fromhex(raw)) == shown


@given(st.binary(max_size=60))
def test_any_bytes_are_readable_and_binary_ones_round_trip(raw: bytes) -> None:
    to_text(raw)
    try:
        text = decode(raw)
    except MultiaddrError:
        return
    assert decode(encode(text)) == text


@pytest.mark.parametrize(
    "cid",
    [
        "QmbndsLC1CSf3kfubGmxeRRJbNUbm3JjyKwV1iw4jStAgm",
        "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
        "zb2rhk6GMPQF3hfzwXTaNYFLKomMeC6UXdUt6jZKPpeVirLtV",
        "k2cwuedmosc65hhh0bee97q5jx3fe55tiyqzep8vgds83agps9dof3da",
        "f01551220c7d01489080858c500065836c658f847a6ca67c4864619212be4f8200e4bbace",
    ],
)
def test_multihash_of_one_content_in_every_base(cid: str) -> None:
    assert cid_multihash(cid).hex() == "1220c7d01489080858c500065836c658f847a6ca67c4864619212be4f8200e4bbace"


@pytest.mark.parametrize(
    "cid",
    [
        "",
        "x",
        "Qm",
        CID[:-1],
        CID + "1",
        "Qm0" + CID[3:],
        "bafk!",
        "B" + "A" * 50,
        "m" + "A" * 50,
        "f02551220",
        "b",
        "fzz",
    ],
)
def test_what_is_no_cid_is_refused(cid: str) -> None:
    with pytest.raises(MultiaddrError):
        cid_multihash(cid)


def test_oversized_bytes_read_as_text() -> None:
    assert to_text(b"\x06\x00\x50" * 2000).startswith("\x06")
