"""Orders: golden hashes, eth-account as the oracle, and strict reading."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, Bytes32, parse_address, to_hex
from adyton.chain import tags
from adyton.chain.eip712 import Domain, type_hash
from adyton.chain.networks import BUILTIN
from adyton.chain.orders import (
    NULL_DATASET_ORDER,
    AppOrder,
    DatasetOrder,
    Order,
    OrderError,
    OrderKind,
    RequestOrder,
    WorkerpoolOrder,
    sign_order,
)
from adyton.chain.wallet import Wallet, recover_digest

DOMAIN = Domain("iExecODB", "5.0.0", 134, BUILTIN["bellecour"].hub)
SALT = Bytes32("0x" + "11" * 32)
PARAMS = (
    '{"iexec_result_storage_provider":"ipfs","iexec_result_storage_proxy":"https://result.v8-bellecour.iex.ec",'
    '"iexec_result_encryption":false,"iexec_args":"\\"0x4e64fb5fa96eb73ef37dacd416eb2bade0ea8f9e7efebe42abe9a062a9caede8'
    '36ee4da1ec1a72264e1287e74fba7fdc76edce05729c4b2ecf6fb8970f13f8321b 22\\""}'
)
REQUESTER = parse_address("0x4CF114732732c072D49a783e80C6Fe9fe8BA420a")
GOLDEN: dict[str, tuple[Order, str]] = {
    "app": (
        AppOrder(
            app=parse_address("0x76fE91568d50C5fF9411223df5A0c50Ec5fa326A"),
            volume=1_000_000,
            tag=tags.encode(["tee", "gramine"]),
            salt=Bytes32("0xcadb4f169d98b940ae506dfc8ee7832e1ff36854aab92f89b7408257693207b3"),
        ),
        "0x210576e452027bc2430a32f6fae97bec8bd1f7bb7a96f59202d6947ec7d6de8f",
    ),
    "dataset": (
        DatasetOrder(
            dataset=parse_address("0x2Ad5773db1a705DB568fAd403cd247fee4808Fb8"),
            salt=Bytes32("0x48380ababf82c79128c1e3ebcba70ce94c6a3ff0ba4125358d1e0c0f871e29e7"),
        ),
        "0x5831e4e2911c431236a3df6d82698fcb849da8c781d7c4e9eb75ed551e4d35d4",
    ),
    "workerpool": (
        WorkerpoolOrder(
            workerpool=parse_address("0x9DEB16F7861123CE34AE755F48D30697eD066793"),
            volume=4,
            category=3,
            trust=1,
            salt=Bytes32("0x0c8d51b480466c65b459e828ed8549cf4b15ba1abda0ef5d454964c23f3edf62"),
        ),
        "0x7b23e26344284e809d7809395467d611ba148ef83b2ff3854e03430311f3f8fa",
    ),
    "request": (
        RequestOrder(
            app=parse_address("0x33c791fE02eDDBfF3D3d37176737Eb3F488E150F"),
            dataset=parse_address("0x69d4a400CFf9838985cD2950aafF28289afc6ad3"),
            requester=REQUESTER,
            beneficiary=REQUESTER,
            params=PARAMS,
            salt=Bytes32("0xef743ff11d68960e724362944b6cd22b59b88402a17f8a1ffabf8fb9be2f4008"),
        ),
        "0x8096dd3852b29d6e86b03505ded47fbc96b0bacc9be097f11de3a747ee0e4283",
    ),
    "app of the market": (
        AppOrder(app=parse_address("0x7bd4783FDCAD405A28052a0d1f11236A741da593"), appprice=5, volume=100, salt=SALT),
        "0x12f45be46f0eba4ba6dc11c80fb3fb47a0ae6ae5c5521e81ef69f80f5b3d4564",
    ),
}
TYPE_HASHES = {
    OrderKind.APP: "60815a0eeec47dddf1615fe53b31d016c31444e01b9d796db365443a6445d008",
    OrderKind.DATASET: "6cfc932a5a3d22c4359295b9f433edff52b60703fa47690a04a83e40933dd47c",
    OrderKind.WORKERPOOL: "aa3429fb281b34691803133d3d978a75bb77c617ed6bc9aa162b9b30920022bb",
    OrderKind.REQUEST: "f24e853034a3a450aba845a82914fbb564ad85accca6cf62be112a154520fae0",
}


@pytest.mark.parametrize(("order", "expected"), GOLDEN.values(), ids=GOLDEN)
def test_golden_hashes(order: Order, expected: str) -> None:
    assert order.hash(DOMAIN) == expected
    assert order.typed_data(DOMAIN).digest == expected
    assert type(order).from_json(order.to_json()) == order


@pytest.mark.parametrize("kind", list(OrderKind))
def test_type_hashes(kind: OrderKind) -> None:
    order = kind.order_class
    assert type_hash(order.__name__, order.struct_fields()).hex() == TYPE_HASHES[kind]
    assert order.kind is kind


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "address": st.binary(min_size=20, max_size=20).map(lambda raw: parse_address("0x" + raw.hex())),
    "uint256": st.integers(0, 2**256 - 1),
    "bytes32": st.binary(min_size=32, max_size=32).map(to_hex),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
}


@st.composite
def orders(draw: st.DrawFn) -> Order:
    kind = draw(st.sampled_from(OrderKind)).order_class
    order: Order = kind(**{name: draw(VALUES[abi]) for name, abi in kind.struct_fields()})
    return order


@given(orders(), st.integers(1, 2**32))
@settings(max_examples=60, deadline=None)
def test_signing_agrees_with_eth_account(
    order: AppOrder | DatasetOrder | WorkerpoolOrder | RequestOrder, chain_id: int
) -> None:
    wallet, domain = Wallet.create(), replace(DOMAIN, chain_id=chain_id)
    signed = sign_order(order, wallet, domain)
    assert signed.salt != order.salt
    assert replace(signed, salt=order.salt, sign=order.sign) == order
    oracle = Account.sign_typed_data(wallet.private_key().reveal(), full_message=signed.typed_data(domain).to_json())
    assert signed.sign == to_hex(bytes(oracle.signature))
    assert signed.hash(domain) == to_hex(bytes(oracle.message_hash))
    assert recover_digest(signed.hash(domain), signed.sign) == wallet.address
    assert type(signed).from_json(signed.to_json()) == signed


def test_each_signature_has_its_own_salt() -> None:
    wallet, order = Wallet.create(), GOLDEN["app"][0]
    assert sign_order(order, wallet, DOMAIN).salt != sign_order(order, wallet, DOMAIN).salt


def test_null_dataset_order() -> None:
    assert NULL_DATASET_ORDER.to_json() == {
        "dataset": ZERO_ADDRESS,
        "datasetprice": "0",
        "volume": "0",
        "tag": ZERO_BYTES32,
        "apprestrict": ZERO_ADDRESS,
        "workerpoolrestrict": ZERO_ADDRESS,
        "requesterrestrict": ZERO_ADDRESS,
        "salt": ZERO_BYTES32,
        "sign": "0x",
    }


def test_members_are_read_in_the_forms_that_clients_send() -> None:
    document = GOLDEN["app"][0].to_json()
    order = AppOrder.from_json({**document, "app": document["app"].lower(), "volume": 12, "tag": "0x" + "AB" * 32})
    assert (order.app, order.volume, order.tag) == (GOLDEN["app"][0].values()["app"], 12, "0x" + "ab" * 32)


def test_resource_is_what_the_order_is_about() -> None:
    assert [kind.order_class(**_minimal(kind)).resource for kind in OrderKind] == [
        "app",
        "dataset",
        "workerpool",
        "requester",
    ]


def _minimal(kind: OrderKind) -> dict[str, Any]:
    return {"app" if kind is OrderKind.REQUEST else str(kind): ZERO_ADDRESS}


BASE = GOLDEN["request"][0].to_json()


@pytest.mark.parametrize(
    "change",
    {
        "unknown member": {"extra": "1"},
        "negative": {"volume": "-1"},
        "hex number": {"volume": "0x10"},
        "fraction": {"volume": "1.5"},
        "float": {"volume": 1.0},
        "boolean": {"volume": True},
        "null": {"volume": None},
        "blank": {"volume": ""},
        "other digits": {"volume": "\N{ARABIC-INDIC DIGIT ONE}"},
        "beyond 256 bits": {"volume": str(2**256)},
        "very long number": {"volume": "9" * 5000},
        "short address": {"app": "0x12"},
        "name for an address": {"app": "name.eth"},
        "address of another type": {"app": 5},
        "tag names": {"tag": "tee"},
        "params of another type": {"params": {}},
        "params too long": {"params": "x" * 70_000},
        "params with a lone surrogate": {"params": "\ud800"},
        "signature without prefix": {"sign": "11"},
        "signature of odd length": {"sign": "0x1"},
        "signature not hex": {"sign": "0xzz"},
        "signature too long": {"sign": "0x" + "11" * 3000},
    }.values(),
)
def test_malformed_member_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(OrderError):
        RequestOrder.from_json({**BASE, **change})


@pytest.mark.parametrize("document", [None, [], "x", {}, {key: BASE[key] for key in list(BASE)[1:]}])
def test_what_is_no_order_is_refused(document: object) -> None:
    with pytest.raises(OrderError):
        RequestOrder.from_json(document)


def test_error_names_the_member() -> None:
    with pytest.raises(OrderError, match="volume"):
        RequestOrder.from_json({**BASE, "volume": "x"})
