import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adyton.base.jsontext import MAX_DEPTH, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


@given(VALUES)
def test_it_reads_what_json_writes(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)])
def test_deep_nesting_is_refused_without_recursion(text: str) -> None:
    with pytest.raises(ValueError, match="deeper"):
        parse_json(text)


def test_brackets_in_text_and_side_by_side_do_not_count() -> None:
    assert parse_json(json.dumps(["[{" * 1000, '"[' * 1000])) == ["[{" * 1000, '"[' * 1000]
    assert parse_json(json.dumps([[]] * 1000)) == [[]] * 1000


@pytest.mark.parametrize("data", [b"", b"\xff", b"{", b'"' + b"[" * 1000, b"nul"])
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # callers catch just that
        parse_json(data)
