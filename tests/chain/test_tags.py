from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adyton.base.types import ZERO_BYTES32, Bytes32
from adyton.chain import tags
from adyton.chain.tags import TagError


def tag(value: int) -> Bytes32:
    return Bytes32("0x" + value.to_bytes(32).hex())


@pytest.mark.parametrize(
    ("names", "value"),
    [
        ([], 0),
        (["tee"], 0x1),
        (["tee", "scone"], 0x3),
        (["gramine", "tee"], 0x5),
        (["tee", "tdx"], 0x9),
        (["gpu"], 0x100),
        (["", "tee", ""], 0x1),
    ],
)
def test_names_and_bits(names: list[str], value: int) -> None:
    assert tags.encode(names) == tag(value)
    assert set(tags.decode(tag(value))) == {name for name in names if name}


@given(st.sets(st.sampled_from(sorted(tags.BITS))))
def test_round_trip(names: set[str]) -> None:
    assert set(tags.decode(tags.encode(names))) == names


def test_unknown_name_and_bit() -> None:
    with pytest.raises(TagError, match=r"^Unknown tag sgx$"):
        tags.encode(["sgx"])
    with pytest.raises(TagError, match=r"^Unknown bit 4 in tag$"):
        tags.decode(tag(0x10))


@pytest.mark.parametrize("value", [0, 0x3, 0x5, 0x9, 0x100, 0x103])
def test_valid_tags(value: int) -> None:
    assert tags.validate(tag(value)) == tag(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0x1, "'tee' tag must be used with a tee framework ('scone'|'gramine'|'tdx')"),
        (0x7, "tee framework tags are exclusive ('scone'|'gramine'|'tdx')"),
        (0x2, "'scone' tag must be used with 'tee' tag"),
        (0x4, "'gramine' tag must be used with 'tee' tag"),
        (0x8, "'tdx' tag must be used with 'tee' tag"),
        (0x10, "Unknown bit 4 in tag"),
    ],
)
def test_invalid_tags_have_the_official_messages(value: int, message: str) -> None:
    with pytest.raises(TagError) as refused:
        tags.validate(tag(value))
    assert str(refused.value) == message


def test_bare_tee_where_it_is_allowed() -> None:
    assert tags.validate(tag(1), allow_bare_tee=True) == tag(1)
    with pytest.raises(TagError):
        tags.validate(tag(2), allow_bare_tee=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0x3, "SCONE"),
        (0x5, "GRAMINE"),
        (0x9, "TDX"),
        (0x1, None),
        (0x7, None),
        (0x2, None),
        (0, None),
        (0x103, "SCONE"),
    ],
)
def test_framework_matches_the_low_bits_exactly(value: int, expected: str | None) -> None:
    assert tags.framework(tag(value)) == expected


def test_strip_union_covers_missing() -> None:
    assert tags.strip_framework(tag(0x10F)) == tag(0x101)
    assert tags.union(tag(1), tag(2), tag(0x100)) == tag(0x103)
    assert tags.union() == ZERO_BYTES32
    assert tags.covers(tag(0x103), tag(0x3))
    assert not tags.covers(tag(0x3), tag(0x103))
    assert tags.missing(tag(0x3), tag(0x103)) == tag(0x100)
    assert tags.is_tee(tag(1))
    assert not tags.is_tee(tag(0x2))
