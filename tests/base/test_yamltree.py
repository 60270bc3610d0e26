"""Number keys, and the code; values and refusals are tested in :mod:`tests.cas.language.test_yamltree`, on sessions."""

from __future__ import annotations

import pytest

from adyton.base.yamltree import YamlError, load_tree


def test_a_number_as_key_is_its_text_where_that_is_wanted() -> None:
    assert load_tree(b"{0: a, '1': {2: b}, 03: c}", number_keys=True) == {"0": "a", "1": {"2": "b"}, "03": "c"}
    with pytest.raises(YamlError, match="appears twice"):
        load_tree(b"{0: a, '0': b}", number_keys=True)


@pytest.mark.parametrize("text", ["{0: a}", "{true: a}", "{[]: a}"])
def test_a_key_is_text(text: str) -> None:
    with pytest.raises(YamlError, match="a key must be text") as caught:
        load_tree(text.encode())
    assert caught.value.code == "input.yaml"


@pytest.mark.parametrize("text", ["{true: a}", "{~: a}", "{[]: a}"])
def test_only_integers_count_as_numbers(text: str) -> None:
    with pytest.raises(YamlError, match="a key must be text"):
        load_tree(text.encode(), number_keys=True)
