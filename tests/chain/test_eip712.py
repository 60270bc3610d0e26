"""Typed data: the market's challenge vectors, and eth-account as the oracle."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from adyton.base.types import keccak, parse_address
from adyton.chain.eip712 import Domain, TypedData, TypedDataError, struct_hash
from adyton.chain.wallet import recover_digest

VALUE = "ycY7boPtnwWuBhmvfId6gROtOFwuiInQ"
SIGNATURE = (
    "0x0ae7e415bc0021fe90df0f8f1a312501bc968772ec73ab39620b300b13d2b212"
    "607d1adc4741f771568ac52fbc5c042787a2bf7df2872f4a7fac93d3a46fe2341b"
)


def challenge(chain_id: str, value: str = VALUE) -> dict[str, Any]:
    """The document that the market asks a wallet to sign."""
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
            ],
            "Challenge": [{"name": "challenge", "type": "string"}],
        },
        "domain": {"name": "iExec Gateway", "version": "1", "chainId": chain_id},
        "primaryType": "Challenge",
        "message": {"challenge": f"Sign this message to log into iExec Gateway: {value}"},
    }


@pytest.mark.parametrize(
    ("chain_id", "expected"),
    [
        ("65535", "0x7ff13783ecb384e98174335a8dd1d0bcda3809f5b2cec2e007a2f4aaa40ed6b0"),
        ("134", "0xf8c0eed1c96842969a402e6f35b621f65fa389a3beb59cd5a6a4add781231bb1"),
    ],
)
def test_market_challenge(chain_id: str, expected: str) -> None:
    data = TypedData.from_json(challenge(chain_id))
    assert data.digest == expected
    assert TypedData.from_json(data.to_json()) == data


def test_market_signature() -> None:
    digest = TypedData.from_json(challenge("65535")).digest
    assert recover_digest(digest, SIGNATURE) == parse_address("0x7bd4783FDCAD405A28052a0d1f11236A741da593")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.integers(0, 2**64))
@settings(max_examples=40, deadline=None)
def test_agrees_with_eth_account(text: str, chain_id: int) -> None:
    document = challenge(str(chain_id), text)
    signable = encode_typed_data(full_message={**document, "domain": {**document["domain"], "chainId": chain_id}})
    expected = keccak(b"\x19" + signable.version + signable.header + signable.body)
    assert TypedData.from_json(document).digest == "0x" + expected.hex()


def test_nested_structs_agree_with_eth_account() -> None:
    document = {
        "types": {
            "EIP712Domain": [{"name": "name", "type": "string"}, {"name": "verifyingContract", "type": "address"}],
            "Person": [{"name": "name", "type": "string"}, {"name": "wallet", "type": "address"}],
            "Mail": [
                {"name": "from", "type": "Person"},
                {"name": "to", "type": "Person"},
                {"name": "data", "type": "bytes"},
                {"name": "flag", "type": "bool"},
                {"name": "word", "type": "bytes32"},
            ],
        },
        "domain": {"name": "x", "verifyingContract": "0x" + "cc" * 20},
        "primaryType": "Mail",
        "message": {
            "from": {"name": "A", "wallet": "0x" + "aa" * 20},
            "to": {"name": "B", "wallet": "0x" + "bb" * 20},
            "data": "0x0102",
            "flag": True,
            "word": "0x" + "11" * 32,
        },
    }
    signable = encode_typed_data(full_message=document)
    expected = keccak(b"\x19" + signable.version + signable.header + signable.body)
    assert TypedData.from_json(document).digest == "0x" + expected.hex()


def test_domain_of_the_dataclass_is_that_of_the_document() -> None:
    domain = Domain(name="iExec Gateway", version="1", chain_id=134)
    fields = (("challenge", "string"),)
    message = challenge("134")["message"]
    typed = TypedData.from_json(challenge("134"))
    hashed = struct_hash("Challenge", fields, message)
    assert keccak(b"\x19\x01" + bytes.fromhex(domain.separator[2:]) + hashed).hex() == typed.digest[2:]


def changed(**members: object) -> dict[str, Any]:
    return {**challenge("134"), **members}


@pytest.mark.parametrize(
    "document",
    {
        "nothing": None,
        "text": "x",
        "another member": changed(extra=1),
        "no types": {"domain": {}, "primaryType": "X", "message": {}},
        "types of the wrong shape": changed(types={"EIP712Domain": 5}),
        "primary type unknown": changed(primaryType="Other"),
        "no domain type": changed(types={"Challenge": []}),
        "too large": changed(message={"challenge": "x" * 70_000}),
        "not JSON": changed(message={"challenge": {1, 2}}),
    }.values(),
)
def test_what_is_no_typed_data_is_refused(document: object) -> None:
    with pytest.raises(TypedDataError):
        TypedData.from_json(document)


@pytest.mark.parametrize(
    "document",
    {
        "member missing": changed(message={}),
        "member too much": changed(message={"challenge": "x", "y": 1}),
        "another type": changed(message={"challenge": 5}),
        "chain id no number": changed(domain={"name": "a", "version": "1", "chainId": "12x"}),
        "chain id beyond 256 bits": changed(domain={"name": "a", "version": "1", "chainId": "9" * 78}),
        "array": changed(
            types={**challenge("1")["types"], "Challenge": [{"name": "challenge", "type": "string[]"}]},
            message={"challenge": ["a"]},
        ),
        "recursive struct": changed(
            types={**challenge("1")["types"], "Challenge": [{"name": "challenge", "type": "Challenge"}]},
            message={"challenge": {"challenge": {}}},
        ),
    }.values(),
)
def test_value_that_does_not_fit_its_type_is_refused(document: object) -> None:
    data = TypedData.from_json(document)
    with pytest.raises(TypedDataError):
        _ = data.digest
