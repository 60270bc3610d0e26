"""Canonical JSON for everything that is hashed, measured or signed.

A subset of RFC 8785 (JCS): objects with string keys sorted by code point, arrays, strings, booleans, null and
integers within +-2^53. Floats are refused: no value of ours needs one and their text form is the hard part of JCS.
"""

from __future__ import annotations

import json
from typing import Any

from adyton.base.errors import InputError

_MAX_SAFE_INTEGER = 2**53


def canonical_json(value: Any) -> bytes:  # noqa: ANN401  # JSON is any
    """Encode ``value`` in its one canonical form, UTF-8.

    Raises:
        InputError: a float, an integer beyond 2^53, a non-string key or another type.
    """
    _check(value, "$")
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _check(value: Any, path: str) -> None:  # noqa: ANN401
    match value:
        case None | bool() | str():
            return
        case int():
            if abs(value) > _MAX_SAFE_INTEGER:
                raise InputError(f"integer out of range at {path}", code="canonical.integer")
        case list() | tuple():
            for index, item in enumerate(value):
                _check(item, f"{path}[{index}]")
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    raise InputError(f"non-text key at {path}", code="canonical.key")
                _check(item, f"{path}.{key}")
        case _:
            raise InputError(f"{type(value).__name__} cannot be canonical at {path}", code="canonical.type")
