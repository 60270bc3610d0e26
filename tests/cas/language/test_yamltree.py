"""The YAML subset: what plain scalars become, and every surprise of YAML refused."""

from __future__ import annotations

import time

import pytest

from adyton.cas.language.yamltree import MAX_BYTES, MAX_DEPTH, MAX_NODES, YamlError, load_tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("a: -7", {"a": -7}),
        ("a: 007", {"a": "007"}),
        ("a: 0x8f3a", {"a": "0x8f3a"}),
        ("a: 1e3", {"a": "1e3"}),
        ("a: 0.3", {"a": "0.3"}),
        ("a: 0.3.10", {"a": "0.3.10"}),
        ("a: yes", {"a": "yes"}),
        ("a: off", {"a": "off"}),
        ("a: true", {"a": True}),
        ("a: 'true'", {"a": "true"}),
        ("a:", {"a": None}),
        ("a: ~", {"a": None}),
        ('a: ""', {"a": ""}),
        ("a: 2026-01-31", {"a": "2026-01-31"}),
        ("a: " + "1" * 64, {"a": "1" * 64}),
        ("- [x, {y: z}]\n- |\n  two\n  lines\n", [["x", {"y": "z"}], "two\nlines\n"]),
        ("{a: [], b: {}}", {"a": [], "b": {}}),
        ("ключ: значение", {"ключ": "значение"}),
    ],
)
def test_values(text: str, value: object) -> None:
    loaded = load_tree(text.encode())
    assert loaded == value
    assert repr(loaded) == repr(value)  # 1 is not True


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"# only a comment", "empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a: \x07", "characters"),
        (b"a: [1", "line"),
        (b"a: b\n c: d: e", "line"),
        (b"a: &x 1", "anchors"),
        (b"a: &x [1]\nb: *x", "anchors"),
        (b"b: *x", "aliases"),
        (b"a: !!python/object/apply:os.system [id]", "tags"),
        (b"a: !!str 1", "tags"),
        (b"a: !local {}", "tags"),
        (b"a: 1\na: 2", "appears twice"),
        (b"1: a", "key must be text"),
        (b"[a]: b", "key must be text"),
        (b"{a: b}: c", "key must be text"),
        (b"a: 1\n---\nb: 2", "second document"),
        (b"a: " + b"[" * (MAX_DEPTH + 1), "deeper"),
        (b"[" + b"1," * MAX_NODES + b"]", "more than"),
        (b"a: '" + b"x" * MAX_BYTES + b"'", "limit"),
    ],
)
def test_refused(data: bytes, reason: str) -> None:
    with pytest.raises(YamlError, match=reason) as caught:
        load_tree(data)
    assert caught.value.code == "cas.session.yaml"


def test_the_line_is_named() -> None:
    with pytest.raises(YamlError, match=r"^line 3: "):
        load_tree(b"a: 1\nb: 2\nc: &x 3\n")


def test_billion_laughs_cost_nothing() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    start = time.perf_counter()
    with pytest.raises(YamlError):
        load_tree("\n".join(lines).encode())
    assert time.perf_counter() - start < 20  # written out, it would take for ever
