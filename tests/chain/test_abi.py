from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode as eth_abi_encode
from hypothesis import given, settings
from hypothesis import strategies as st

from adyton.base.types import parse_address
from adyton.chain import abi
from adyton.chain.abi import AbiError, Function
from adyton.chain.models import DEAL_ABI, TASK_ABI

SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "address": st.binary(min_size=20, max_size=20).map(lambda raw: parse_address("0x" + raw.hex())),
    "uint256": st.integers(0, 2**256 - 1),
    "uint8": st.integers(0, 255),
    "bool": st.booleans(),
    "bytes32": st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex()),
    "bytes4": st.binary(min_size=4, max_size=4).map(lambda raw: "0x" + raw.hex()),
    "bytes": st.binary(max_size=70),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
}


@st.composite
def typed(draw: st.DrawFn, depth: int = 0) -> tuple[str, Any]:
    """A type of the supported ones and a value of it."""
    shape = draw(st.sampled_from(["simple", "simple", "tuple", "array"] if depth < 2 else ["simple"]))
    if shape == "tuple":
        members = draw(st.lists(typed(depth + 1), min_size=1, max_size=4))
        return f"({','.join(kind for kind, _ in members)})", tuple(value for _, value in members)
    if shape == "array":
        kind = draw(st.sampled_from(list(SIMPLE)))
        return f"{kind}[]", tuple(draw(st.lists(SIMPLE[kind], max_size=4)))
    kind = draw(st.sampled_from(list(SIMPLE)))
    return kind, draw(SIMPLE[kind])


def oracle(kind: str, value: Any) -> Any:  # noqa: ANN401  # a value of any ABI type
    """The value as eth-abi takes it."""
    if kind.startswith("(") and kind.endswith(")"):
        return tuple(oracle(*pair) for pair in zip(abi.split_types(kind[1:-1]), value, strict=True))
    if kind.endswith("[]"):
        return [oracle(kind[:-2], each) for each in value]
    if kind in {"bytes32", "bytes4"}:
        return bytes.fromhex(value[2:])
    return value


@given(st.lists(typed(), max_size=4))
@settings(max_examples=150, deadline=None)
def test_agrees_with_eth_abi_both_ways(members: list[tuple[str, Any]]) -> None:
    kinds = [kind for kind, _ in members]
    values = [value for _, value in members]
    encoded = abi.encode(f"({','.join(kinds)})", *values)
    assert encoded == eth_abi_encode(kinds, [oracle(kind, value) for kind, value in members])
    assert abi.decode(f"({','.join(kinds)})", encoded) == tuple(values)


@given(st.binary(max_size=400), st.sampled_from([DEAL_ABI, TASK_ABI, "(string[],bytes)", "(uint256[])"]))
@settings(max_examples=150, deadline=None)
def test_hostile_bytes_give_a_value_or_a_typed_error(data: bytes, kind: str) -> None:
    try:
        abi.decode(f"({kind})", data)
    except AbiError:
        return


WORD = (32).to_bytes(32)


@pytest.mark.parametrize(
    ("types", "data"),
    {
        "nothing": ("(uint256)", b""),
        "half a word": ("(uint256)", bytes(31)),
        "padding of an address": ("(address)", b"\1" * 32),
        "padding of bytes4": ("(bytes4)", b"\1" * 32),
        "uint8 of 256": ("(uint8)", (256).to_bytes(32)),
        "boolean of two": ("(bool)", (2).to_bytes(32)),
        "offset outside": ("(bytes)", (2**255).to_bytes(32)),
        "length outside": ("(bytes)", WORD + (33).to_bytes(32) + bytes(32)),
        "array longer than the data": ("(uint256[])", WORD + (2).to_bytes(32) + bytes(32)),
        "array of tuples longer than the data": ("((uint256,uint256)[])", WORD + (1).to_bytes(32) + bytes(32)),
    }.values(),
)
def test_malformed_data_is_refused(types: str, data: bytes) -> None:
    with pytest.raises(AbiError):
        abi.decode(types, data)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uint8", 256),
        ("uint256", -1),
        ("uint256", True),
        ("uint256", "1"),
        ("address", "0x12"),
        ("address", None),
        ("address", "0x" + "zz" * 20),
        ("bytes32", b"x" * 32),
        ("bytes32", "0x" + "11" * 31),
        ("bytes", "0x11"),
        ("string", b"text"),
        ("string", "\ud800"),
        ("bool", 1),
        ("(uint256,uint256)", (1,)),
        ("(uint256,uint256)", 1),
    ],
)
def test_value_of_another_type_is_refused(kind: str, value: object) -> None:
    with pytest.raises(AbiError):
        abi.encode(f"({kind})", value)


@pytest.mark.parametrize(
    "kind", ["uint7", "uint264", "bytes33", "bytes0", "int256", "fixed", "uint256[2]", "tuple", ""]
)
def test_unsupported_type_is_refused(kind: str) -> None:
    with pytest.raises(AbiError):
        abi.codec(kind)


def test_text_that_is_not_utf8_is_still_readable() -> None:
    assert abi.decode("(string)", WORD + (1).to_bytes(32) + b"\xff".ljust(32, b"\0")) == ("\N{REPLACEMENT CHARACTER}",)


@pytest.mark.parametrize(
    ("signature", "selector"),
    [
        ("domain()", "c2fb26a6"),
        ("viewDeal(bytes32)", "b74861b2"),
        ("claimArray(bytes32[])", "fa055d7e"),
        ("safeTransferFrom(address,address,uint256)", "42842e0e"),
    ],
)
def test_selectors(signature: str, selector: str) -> None:
    assert Function(signature).selector.hex() == selector


def test_empty_answer_names_the_function_and_the_remedy() -> None:
    with pytest.raises(AbiError, match=r"owner\(\)") as refused:
        Function("owner()", "(address)").result(b"")
    assert "contract" in refused.value.hint
