# ruff: noqa: ANN401  # CBOR is any
from __future__ import annotations

import hashlib
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.report_data import Claims, claims_bytes, decode_cbor, report_data
from adyton.base.errors import InputError

KEY_HASH = hashlib.sha256(b"spki").digest()
GOOD: dict[Any, Any] = {"pubkey-hash": cbor2.dumps([1, KEY_HASH]), "nonce": bytes(16), "purpose": "cas-config"}


@given(
    st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,3}", fullmatch=True),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=64),
)
def test_claims_round_trip(purpose: str, key_hash: bytes, nonce: bytes) -> None:
    claims = Claims(purpose, key_hash, nonce)
    assert Claims.parse(claims.to_bytes()) == claims


def test_report_data_is_the_hash_of_the_claims_and_zeros() -> None:
    claims = claims_bytes("cas-config", b"spki", bytes(16))
    assert report_data(claims) == hashlib.sha256(claims).digest() + bytes(32)
    assert Claims.parse(claims).report_data() == report_data(claims)
    assert Claims.parse(claims).spki_sha256 == KEY_HASH


def test_each_member_changes_the_report_data() -> None:
    arguments = [("cas-config", b"spki", bytes(16)), ("cas-server", b"spki", bytes(16))]
    arguments += [("cas-config", b"other", bytes(16)), ("cas-config", b"spki", bytes(17))]
    assert len({report_data(claims_bytes(*one)) for one in arguments}) == 4


@pytest.mark.parametrize(
    ("purpose", "nonce"),
    [
        ("", bytes(16)),
        ("CAS", bytes(16)),
        ("a b", bytes(16)),
        ("a" * 65, bytes(16)),
        ("cas-config", bytes(15)),
        ("cas-config", bytes(65)),
    ],
)
def test_purposes_and_nonces_have_bounds(purpose: str, nonce: bytes) -> None:
    with pytest.raises(InputError):
        claims_bytes(purpose, b"spki", nonce)


def without(name: str) -> dict[Any, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


@pytest.mark.parametrize(
    "members",
    [
        without("pubkey-hash"),
        without("nonce"),
        without("purpose"),
        GOOD | {"extra": 1},
        GOOD | {"nonce": "text-of-16-bytes"},
        GOOD | {"nonce": b""},
        GOOD | {"purpose": b"cas-config"},
        GOOD | {"pubkey-hash": KEY_HASH},
        GOOD | {"pubkey-hash": cbor2.dumps([7, bytes(48)])},
        GOOD | {"pubkey-hash": cbor2.dumps([1, bytes(31)])},
        GOOD | {"pubkey-hash": cbor2.dumps([1, KEY_HASH, 0])},
        [GOOD],
        "text",
    ],
    ids=[
        "no key hash",
        "no nonce",
        "no purpose",
        "unknown member",
        "text nonce",
        "empty nonce",
        "binary purpose",
        "bare key hash",
        "other hash algorithm",
        "short key hash",
        "triple",
        "list",
        "text",
    ],
)
def test_other_claims_are_refused(members: Any) -> None:
    with pytest.raises(AttestationError) as caught:
        Claims.parse(cbor2.dumps(members, canonical=True))
    assert caught.value.code == "attestation.claims"


def test_claims_in_another_encoding_are_refused() -> None:
    assert Claims.parse(cbor2.dumps(GOOD, canonical=True)).nonce == bytes(16)
    reordered = cbor2.dumps(dict(sorted(GOOD.items(), key=lambda item: item[0], reverse=True)))
    assert reordered != cbor2.dumps(GOOD, canonical=True)
    for data in (reordered, cbor2.dumps(GOOD, canonical=True) + b"\0"):
        with pytest.raises(AttestationError):
            Claims.parse(data)


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(AttestationError):
        Claims.parse(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x81" * 400,
        b"\x9b" + b"\xff" * 8,
        b"\x5b\x00\x00\x00\x7f\xff\xff\xff\xff",
        b"\xd8\x1c\x81\xd8\x1d\x00",
        bytes(513),
    ],
    ids=["deep nesting", "list length bomb", "bytes length bomb", "shared reference to itself", "over the limit"],
)
def test_bombs_are_refused(data: bytes) -> None:
    with pytest.raises(AttestationError):
        Claims.parse(data)
    with pytest.raises(AttestationError):
        decode_cbor(data, 4, "four bytes")
