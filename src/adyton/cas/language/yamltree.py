"""Session documents as plain values: the project's subset of YAML, with the CAS's own error code."""

from __future__ import annotations

from typing import Any

from adyton.base import yamltree
from adyton.base.errors import InputError
from adyton.base.yamltree import MAX_BYTES, MAX_DEPTH, MAX_NODES

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "YamlError", "load_tree"]


class YamlError(InputError):
    """The text is not in the accepted subset of YAML, or exceeds a limit."""

    code = "cas.session.yaml"


def load_tree(data: bytes) -> Any:  # noqa: ANN401  # a tree of plain values
    """Parse one document (:func:`adyton.base.yamltree.load_tree`).

    Raises:
        YamlError: not UTF-8, not YAML, outside the subset, or over a limit; the message names the line.
    """
    try:
        return yamltree.load_tree(data)
    except yamltree.YamlError as error:
        raise YamlError(error.message) from None
