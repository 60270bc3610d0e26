"""Reading JSON that came from outside: bounded in depth, so that hostile nesting cannot exhaust the C stack.

``json.loads`` recurses in C once per level. Python's recursion limit usually stops it, but programs and libraries raise
that limit, and then a few kilobytes of brackets end the process. Nothing that we read nests deeper than a few levels.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

MAX_DEPTH: Final = 64
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)


class JsonDepthError(ValueError):
    """The text nests deeper than :data:`MAX_DEPTH`; a ``ValueError`` like every other complaint about JSON."""


def parse_json(data: bytes | str) -> Any:  # noqa: ANN401  # JSON is any
    """Like ``json.loads``.

    Raises:
        ValueError: not JSON, not UTF-8, or nested deeper than :data:`MAX_DEPTH`.
    """
    text = data.decode() if isinstance(data, bytes) else data
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(text)
    return json.loads(text)


def _check_depth(text: str) -> None:
    depth = 0
    for character in _STRING.sub("", text):
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise JsonDepthError(f"the JSON text nests deeper than {MAX_DEPTH} levels")
        elif character in "]}":
            depth -= 1
