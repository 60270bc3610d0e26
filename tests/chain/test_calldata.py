"""Calldata: every function that this room knows is one of the published contracts, and has the official selector."""

from __future__ import annotations

from typing import Any

import pytest

from adyton.base.types import ZERO_ADDRESS, Bytes32
from adyton.chain import abi, calldata
from adyton.chain.abi import Function
from adyton.chain.artifacts import Artifacts, function_signatures
from adyton.chain.calldata import HubCalls, OrderOperation, RegistryCalls
from adyton.chain.orders import NULL_DATASET_ORDER, AppOrder, OrderKind, RequestOrder, WorkerpoolOrder
from adyton.chain.recipe import MODULES, REGISTRIES

WORD = Bytes32("0x" + "11" * 32)
ASSETS = ("App", "Dataset", "Workerpool")
ORDERS = (
    AppOrder(app=ZERO_ADDRESS),
    NULL_DATASET_ORDER,
    WorkerpoolOrder(workerpool=ZERO_ADDRESS),
    RequestOrder(app=ZERO_ADDRESS, params="é"),
)
SELECTORS = {
    "156194d4": HubCalls.match_orders(*ORDERS),
    "5b36c66b": HubCalls.initialize(WORD, 1),
    "34623484": HubCalls.contribute(WORD, WORD, WORD, ZERO_ADDRESS, b"", b""),
    "fc334e8c": HubCalls.reveal(WORD, WORD),
    "8fc375e5": HubCalls.finalize(WORD, b"x"),
    "5facd761": HubCalls.contribute_and_finalize(WORD, WORD, b"", b"", ZERO_ADDRESS, b"", b""),
    "bd66528a": HubCalls.claim(WORD),
    "fa055d7e": HubCalls.claim_array([WORD]),
    "f722cb32": HubCalls.initialize_and_claim_array([WORD], [1]),
    "d0e30db0": HubCalls.deposit(),
    "2e1a7d4d": HubCalls.withdraw(1),
    "298503d9": HubCalls.create_category("a", "b", 1),
    "b2b07e66": HubCalls.manage_order(OrderKind.APP, ORDERS[0], OrderOperation.CLOSE),
    "8dd971d5": HubCalls.manage_order(OrderKind.REQUEST, ORDERS[3], OrderOperation.CLOSE),
    "3f7868ff": RegistryCalls.create_app(ZERO_ADDRESS, "", "", b"", WORD),
    "3354bcdb": RegistryCalls.create_dataset(ZERO_ADDRESS, "", b"", WORD),
    "e40238f4": RegistryCalls.create_workerpool(ZERO_ADDRESS, ""),
    "42842e0e": RegistryCalls.transfer_asset(ZERO_ADDRESS, ZERO_ADDRESS, ZERO_ADDRESS),
    "3121db1c": RegistryCalls.set_name(ZERO_ADDRESS, "a.eth"),
}


@pytest.mark.parametrize(("selector", "built"), SELECTORS.items(), ids=SELECTORS)
def test_official_selectors(selector: str, built: bytes) -> None:
    assert built[:4].hex() == selector
    assert (len(built) - 4) % 32 == 0


def test_calls_that_differ_only_in_the_payer_or_the_target() -> None:
    assert HubCalls.sponsor_match_orders(*ORDERS)[4:] == HubCalls.match_orders(*ORDERS)[4:]
    assert HubCalls.sponsor_match_orders(*ORDERS)[:4] != HubCalls.match_orders(*ORDERS)[:4]
    assert HubCalls.reopen(WORD)[4:] == HubCalls.claim(WORD)[4:]


def functions() -> dict[str, Function]:
    found: dict[str, Function] = {}
    for value in vars(calldata).values():
        several = value.values() if isinstance(value, dict) else [value]
        found |= {each.signature: each for each in several if isinstance(each, Function)}
    return found


def outputs(entry: dict[str, Any]) -> str:
    texts = function_signatures([{"type": "function", "name": "", "inputs": entry["outputs"]}])
    return texts[0]


def test_every_function_is_published_with_this_result(artifacts: Artifacts) -> None:
    names = [each.format(mode="Native") for each in MODULES] + [*REGISTRIES.values(), *ASSETS, "RLC"]
    published: dict[str, set[str]] = {}
    for name in names:
        for entry in artifacts.abi(name):
            if entry["type"] == "function":
                (signature,) = function_signatures([entry])
                published.setdefault(signature, set()).add(outputs(entry))
    for signature, function in functions().items():
        assert signature in published, signature
        if function.returns != "()":
            assert function.returns in published[signature], signature
        abi.codec(function.arguments)
    assert len(functions()) > 60
