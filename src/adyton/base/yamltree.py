"""YAML from outside into plain values, with none of YAML's surprises.

A subset of YAML 1.2: mappings with text keys, sequences, scalars. No tags, no anchors and aliases (a page of aliases
expands to gigabytes), no merge keys, no second document, no duplicate keys. Unquoted scalars become null, booleans
(``true``/``false`` only) or decimal integers of at most 18 digits; all else is text, so ``0x…`` addresses, versions,
dates and ``yes`` stay what their author wrote.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from adyton.base.errors import InputError

MAX_BYTES: Final = 1 << 20  # a session with 100 datasets is 60 kB
MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 12

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_PLAIN: Final = {"": None, "~": None, "null": None, "true": True, "false": False}
_NO_KEY: Final = object()


class YamlError(InputError):
    """The text is not in the accepted subset of YAML, or exceeds a limit."""

    code = "input.yaml"


def load_tree(data: bytes, *, number_keys: bool = False) -> Any:  # noqa: ANN401  # a tree of plain values
    """Parse one document; JSON is a subset.

    Args:
        data: UTF-8.
        number_keys: take a key that is an integer for its text, as JSON writes it, instead of refusing it.

    Raises:
        YamlError: not UTF-8, not YAML, outside the subset, or over a limit; the message names the line.
    """
    if len(data) > MAX_BYTES:
        raise YamlError(f"the document has {len(data)} bytes; the limit is {MAX_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise YamlError(f"the document is not UTF-8 at byte {error.start}") from None
    builder = _Builder(number_keys=number_keys)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):  # libyaml: 20 times the speed of the Python scanner
            builder.feed(event, event.start_mark.line + 1 if event.start_mark else 0)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise YamlError(f"line {line}: {error.problem or 'not YAML'}") from None
    except yaml.YAMLError:
        raise YamlError("the document holds characters that YAML does not allow") from None
    return builder.result()


class _Builder:
    """Builds the tree from parser events with an explicit stack, so that depth is bounded by a number we chose."""

    def __init__(self, *, number_keys: bool) -> None:
        self._number_keys = number_keys
        self._stack: list[_Open] = []
        self._nodes = 0
        self._documents = 0
        self._root: Any = None

    def feed(self, event: yaml.Event, line: int) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise YamlError(f"line {line}: a second document")
            case yaml.AliasEvent():
                raise YamlError(f"line {line}: aliases are not accepted")
            case yaml.NodeEvent():
                self._check(event, line)
                self._start(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._end(line)
            case _:
                return  # stream and document borders carry nothing

    def result(self) -> Any:  # noqa: ANN401
        if self._documents == 0:
            raise YamlError("the document is empty")
        return self._root

    def _check(self, event: yaml.NodeEvent, line: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise YamlError(f"line {line}: more than {MAX_NODES} values")
        if event.anchor is not None:
            raise YamlError(f"line {line}: anchors are not accepted")
        if getattr(event, "tag", None) is not None:
            raise YamlError(f"line {line}: tags are not accepted")

    def _start(self, event: yaml.NodeEvent, line: int) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._place(event.value if event.style else _plain(event.value), line)
            return
        if len(self._stack) >= MAX_DEPTH:
            raise YamlError(f"line {line}: nested deeper than {MAX_DEPTH}")
        self._stack.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else []))

    def _end(self, line: int) -> None:
        self._place(self._stack.pop().value, line)

    def _place(self, value: Any, line: int) -> None:  # noqa: ANN401
        if not self._stack:
            self._root = value
            return
        self._stack[-1].add(value, line, number_keys=self._number_keys)


class _Open:
    """A collection whose end has not come yet."""

    __slots__ = ("_key", "value")

    def __init__(self, value: dict[str, Any] | list[Any]) -> None:
        self.value = value
        self._key: Any = _NO_KEY

    def add(self, item: Any, line: int, *, number_keys: bool) -> None:  # noqa: ANN401
        if isinstance(self.value, list):
            self.value.append(item)
        elif self._key is _NO_KEY:
            if number_keys and type(item) is int:
                item = str(item)
            if not isinstance(item, str):
                raise YamlError(f"line {line}: a key must be text")
            if item in self.value:
                raise YamlError(f"line {line}: the key {item!r} appears twice")
            self._key = item
        else:
            self.value[self._key] = item
            self._key = _NO_KEY


def _plain(text: str) -> str | int | bool | None:
    if text in _PLAIN:
        return _PLAIN[text]
    return int(text) if _INTEGER.fullmatch(text) else text
