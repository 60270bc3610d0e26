"""Quotes are malleable: nothing here takes the hash of one for an identity, a cache's key or a mark of replay.

ECDSA signatures have twins, and some readers pass over bytes that others refuse, so that one statement of an enclave
has many quotes. What identifies evidence is what it is over: nonce and key in its report data, and its platform's PPID.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "adyton"
QUOTES = {"quote", "raw_quote", "quote_bytes"}
HASHES = {"sha1", "sha256", "sha384", "sha512", "sha3_256", "blake2b", "blake2s", "md5", "keccak", "hash", "digest"}


def hashed_quotes(tree: ast.AST) -> Iterator[int]:
    """Lines where a hash function is given a whole quote."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _name(node.func) not in HASHES:
            continue
        inside = [part for argument in node.args for part in ast.walk(argument)]
        owners = {id(part.value) for part in inside if isinstance(part, ast.Attribute)}  # quote.auth is not the quote
        if any(_name(part) in QUOTES and id(part) not in owners for part in inside):
            yield node.lineno


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def test_no_hash_of_a_quote_is_taken() -> None:
    found = [
        f"{file.relative_to(PACKAGE)}:{line}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for line in hashed_quotes(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("hashlib.sha256(quote).digest()", True),
        ("sha256(b'label' + opened.quote)", True),
        ("hash(quote)", True),
        ("hashlib.sha256(quote.attestation_key + quote.auth)", False),
        ("hashlib.sha256(parsed.certification)", False),
        ("verify(quote)", False),
    ],
)
def test_the_search_finds_what_it_is_for(source: str, found: bool) -> None:
    assert bool(list(hashed_quotes(ast.parse(source)))) == found
