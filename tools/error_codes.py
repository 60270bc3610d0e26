"""Lists every stable error code of the package as Markdown: ``python tools/error_codes.py > docs/errors.md``.

A code is a dotted lower-case text given to ``code`` in a class body or a call. Its meaning is the first line of its
error class's docstring; a narrower code, given where the error is raised, has the message there.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "adyton"
CODE = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)+")
HEAD = """# Error codes

Every error that leaves a room of Adyton has one of these codes. They are stable: scripts may rely on them. On the
official routes and in `iexec --raw` output the official texts and names stand instead. Made by
`python tools/error_codes.py > docs/errors.md`; a test compares.

| code | meaning |
|---|---|
"""


def codes() -> dict[str, str]:
    """Code to meaning: a table's line, else its class's docstring, else the message where it is raised."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in sorted(PACKAGE.rglob("*.py"))]
    classes = {node.name: _summary(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    found: dict[str, str] = {}
    for reader in (_tables, _classes, lambda tree: _calls(tree, classes)):
        for tree in trees:
            for code, meaning in reader(tree):
                if CODE.fullmatch(code) and not found.get(code):
                    found[code] = meaning
    return found


def _summary(node: ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n\n")[0]


def _tables(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                pair = (getattr(key, "value", None), getattr(value, "value", None))
                if isinstance(pair[0], str) and isinstance(pair[1], str) and pair[0].startswith("attestation."):
                    yield pair[0], pair[1]


def _classes(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.Assign) and _is_code(item.targets[0]) and isinstance(item.value, ast.Constant):
                    yield str(item.value.value), _summary(node)


def _calls(tree: ast.Module, classes: dict[str, str]) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                    name = getattr(node.func, "id", "")
                    yield str(keyword.value.value), _message(node) or classes.get(name, "")


def _is_code(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "code"


def _message(call: ast.Call) -> str:
    """The first text argument, with what is filled in shown as an ellipsis."""
    for argument in call.args:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            return argument.value
        if isinstance(argument, ast.JoinedStr):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in argument.values)
    return ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def document() -> str:
    """The page."""
    rows = (f"| `{code}` | {_cell(text)} |" for code, text in sorted(codes().items()))
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
