"""Signatures: the official services' vectors, and eth-account as the oracle."""

from __future__ import annotations

import pickle

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given, settings
from hypothesis import strategies as st

from adyton.base.errors import InputError
from adyton.base.secret import Secret
from adyton.base.types import to_hex
from adyton.chain.wallet import (
    SignatureError,
    Wallet,
    personal_digest,
    recover_digest,
    recover_personal,
)

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
REQUESTER = "0xb8e97e9e217a50dedbe3c0c4c37b85a85a10d4eb23fca6dbad55162cfbb1c450"
POOL = "0xe2a973b083fae8043543f15313955aecee9de809a318656c1cfb22d3a6d52de1"
ENCLAVE = "0xdd3b993ec21c71c1f6d63a5240850e0d4d8dd83ff70d29e49247958548c1d479"
KEYS = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32))


@pytest.mark.parametrize(
    ("key", "address", "message", "signature"),
    {
        "requester secret": (
            REQUESTER,
            "0x123790ae4e14865b972ee04a5f9fd5fb153cd5e7",
            "0468797eab72f209e38a31d624e733b762cafc174ce002ee0d13a1efcac22b7e",
            "9493478d384aa0b63bd367bd4e7eb6d40f38b7b9a570e89f2cfc9f76f139946158d8189ea941fb697b01202018a91599fe2e1a0a64b84940488fe6632f50ec121c",
        ),
        "pool authorization": (
            POOL,
            "0xc911f9345717ba7c8ec862ce002af3e058df84e4",
            "92ccfe8ca6af2199a9ab4495cd93a9d4acce64bf9601587378e9e0b9eb355b92",
            "93fd638120333219e548761cf98155b795683fd4b6ee2bb290b3f3bb1ecde4940ccf464cdbe904556a9fd4938889c9236fdb0d00ca5694daf47425f2a304647d1c",
        ),
        "challenge request": (
            POOL,
            "0xc911f9345717ba7c8ec862ce002af3e058df84e4",
            "b569321de72d0af89c2fb48a484de3fc9343f31600ae1f3e13d633cb48cbf816",
            "bb8b51d77f3fcd52f9efb7ba88ffbd296612cccb9d8d9392335e104a53ba4f232e3cd8a8f4542f040a8de362861d785d3742dbb58cdeecc5edb60a0cbd44d9d91b",
        ),
        "enclave": (
            ENCLAVE,
            "0x9605a0b32a4b9bbe41043459ef4d1507600c10b1",
            "5cd0e9c5180dd35e2b8285d0db4ded193a9b4be6fbfab90cbadccecab130acad",
            "fcc6bce5eb04284c2eb1ed14405b943574343b1abda33628fbf94a374b18dd16541c6ebf63c6943d8643ff03c7aa17f1cb17b0a8d297d0fd95fc914bdd0e85f81b",
        ),
        "worker call": (
            ENCLAVE,
            "0x9605a0b32a4b9bbe41043459ef4d1507600c10b1",
            "a2103d824829d02b91bb27bed19bb9d30e209469bdf3962a2284be28618f64f1",
            "c049adee011d3d2f9f49ebfb566af09d2e02afc70ab253e93023951b468d72a009dedcb6e79084f3608260a2d787554d814079e085599c96b0598ef27e0b8b9e1c",
        ),
        "computed file": (
            ENCLAVE,
            "0x9605a0b32a4b9bbe41043459ef4d1507600c10b1",
            "b54c9017c5ed5c4810162a60548db9538e5d14152b8d9127454995229b73e2b6",
            "ceff8fe8020f761bf337474a2c95aadb37fb64d0b76a7e310adcd02754bb706441c6380551f56cc8915ae1b4eb805060ba6888a174ac1072f2bae534b0d281751b",
        ),
    }.values(),
)
def test_official_vectors(key: str, address: str, message: str, signature: str) -> None:
    wallet = Wallet.from_hex(key)
    assert wallet.address.lower() == address
    assert wallet.sign_personal(bytes.fromhex(message)).hex() == signature
    assert recover_personal(bytes.fromhex(message), "0x" + signature) == wallet.address


@given(KEYS, st.binary(max_size=200))
@settings(max_examples=40, deadline=None)
def test_agrees_with_eth_account(key: bytes, message: bytes) -> None:
    wallet, oracle = Wallet(Secret(key)), Account.from_key(key)
    assert wallet.address == oracle.address
    assert wallet.sign_personal(message) == bytes(oracle.sign_message(encode_defunct(message)).signature)
    assert wallet.public_key()[1:] == oracle._key_obj.public_key.to_bytes()


@given(KEYS, st.binary(min_size=32, max_size=32))
@settings(max_examples=40, deadline=None)
def test_recovers_what_it_signed_in_every_accepted_form(key: bytes, digest: bytes) -> None:
    wallet = Wallet(Secret(key))
    signature = wallet.sign_digest(digest)
    assert recover_digest(digest, signature) == wallet.address
    assert recover_digest(digest, to_hex(signature)) == wallet.address
    parity = signature[64] - 27
    compact = signature[:32] + bytes([signature[32] | parity << 7]) + signature[33:64]
    for form in (signature[:64] + bytes([parity]), compact):
        assert recover_digest(digest, form, lenient=True) == wallet.address
        with pytest.raises(SignatureError):
            recover_digest(digest, form)


def malleated(signature: bytes) -> bytes:
    """The other signature that the same key could have made; EIP-2 forbids it."""
    s = ORDER - int.from_bytes(signature[32:64])
    return signature[:32] + s.to_bytes(32) + bytes([55 - signature[64]])


GOOD = Wallet.from_hex(POOL).sign_digest(b"\1" * 32)


WRONG = {
    "empty": b"",
    "63 bytes": GOOD[:63],
    "66 bytes": GOOD + b"\0",
    "v 2": GOOD[:64] + b"\2",
    "v 26": GOOD[:64] + b"\x1a",
    "v 29": GOOD[:64] + b"\x1d",
    "high s": malleated(GOOD),
    "r zero": bytes(32) + GOOD[32:],
    "s zero": GOOD[:32] + bytes(32) + GOOD[64:],
    "r beyond the order": b"\xff" * 32 + GOOD[32:],
    "no point": (5).to_bytes(32) + GOOD[32:],
    "not hex": "0xzz",
    "no prefix": GOOD.hex(),
}


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("signature", WRONG.values(), ids=WRONG)
def test_what_is_no_signature_is_refused(signature: bytes | str, lenient: bool) -> None:
    with pytest.raises(SignatureError):
        recover_digest(b"\1" * 32, signature, lenient=lenient)


def test_another_digest_gives_another_account() -> None:
    assert recover_digest(b"\2" * 32, GOOD) != Wallet.from_hex(POOL).address


@pytest.mark.parametrize("digest", [b"", b"\1" * 31, b"\1" * 33])
def test_digest_has_32_bytes(digest: bytes) -> None:
    with pytest.raises(InputError):
        Wallet.create().sign_digest(digest)


@pytest.mark.parametrize(
    "text", ["", "0x", "11" * 31, "0x" + "11" * 33, "zz" * 32, "00" * 32, "ff" * 32, f"{ORDER:064x}"]
)
def test_what_is_no_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InputError) as refused:
        Wallet.from_hex(text)
    assert len(text) < 4 or text[2:] not in str(refused.value)


def test_key_shows_nowhere() -> None:
    wallet = Wallet.from_hex(POOL)
    assert POOL[2:] not in f"{wallet} {wallet!r} {wallet.private_key()!r}"
    with pytest.raises(TypeError):
        pickle.dumps(wallet)
    assert not hasattr(wallet, "__dict__")


def test_created_wallets_differ() -> None:
    assert Wallet.create().address != Wallet.create().address


def test_personal_digest_counts_bytes() -> None:
    assert personal_digest("é".encode()) != personal_digest(b"e")
