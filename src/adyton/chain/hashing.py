"""Hashes of the protocol that are neither orders nor typed data: ids, results, authorizations.

Sources: the PoCo contracts' own recipes (task and deal ids, result hash and seal, authorization) and the services'
``concatenateAndHash`` (bytes of hex texts, joined without padding).
"""

from __future__ import annotations

import re

from adyton.base.errors import InputError
from adyton.base.types import Address, Bytes32, address_bytes, keccak, word_bytes

_HEX = re.compile(r"(?:0[xX])?([0-9a-fA-F]*)")


def hash_text(text: str) -> Bytes32:
    """Keccak-256 of UTF-8 text."""
    return Bytes32("0x" + keccak(text.encode()).hex())


def concat_hash(*hex_texts: str) -> Bytes32:
    """Decode each hex text, join the bytes with nothing between, and hash them with Keccak-256.

    ``0x`` is optional, an empty text is no bytes, and with an odd number of digits the first stands for a byte of its
    own, as the services' reference does.

    Raises:
        InputError: a text that is not hex. (The reference hashes something undefined there.)
    """
    return Bytes32("0x" + keccak(b"".join(map(_hex_bytes, hex_texts))).hex())


def _hex_bytes(text: str) -> bytes:
    match = _HEX.fullmatch(text)
    if match is None:
        raise InputError(f"{text[:80]!r} is not hex text", code="chain.hash.hex")
    digits = match[1]
    return bytes.fromhex("0" * (len(digits) % 2) + digits)


def task_id(deal_id: Bytes32, index: int) -> Bytes32:
    """The id of task ``index`` of a deal; ``index`` counts from the deal's ``bot_first``.

    Raises:
        InputError: a negative index or one beyond 256 bits.
    """
    return Bytes32("0x" + keccak(word_bytes(deal_id) + _uint256(index)).hex())


def deal_id(request_hash: Bytes32, bot_first: int) -> Bytes32:
    """The id that the contracts give the deal whose first task is the request's number ``bot_first``.

    Raises:
        InputError: a negative number or one beyond 256 bits.
    """
    return Bytes32("0x" + keccak(word_bytes(request_hash) + _uint256(bot_first)).hex())


def _uint256(value: int) -> bytes:
    if not 0 <= value < 1 << 256:
        raise InputError(f"{value} is not a 256-bit unsigned integer", code="input.uint256")
    return value.to_bytes(32)


def authorization_hash(worker: Address, task: Bytes32, enclave_challenge: Address) -> Bytes32:
    """What the workerpool owner signs (EIP-191) to let ``worker`` compute ``task``."""
    return Bytes32("0x" + keccak(address_bytes(worker) + word_bytes(task) + address_bytes(enclave_challenge)).hex())


def result_hash(task: Bytes32, digest: Bytes32) -> Bytes32:
    """The public commitment to a result digest."""
    return Bytes32("0x" + keccak(word_bytes(task) + word_bytes(digest)).hex())


def result_seal(worker: Address, task: Bytes32, digest: Bytes32) -> Bytes32:
    """The commitment that proves that ``worker`` itself knows the digest."""
    return Bytes32("0x" + keccak(address_bytes(worker) + word_bytes(task) + word_bytes(digest)).hex())


def contribution_message(task: Bytes32, worker: Address, digest: Bytes32) -> Bytes32:
    """What the enclave challenge key signs (EIP-191): the hash of result hash and seal."""
    return Bytes32(
        "0x" + keccak(word_bytes(result_hash(task, digest)) + word_bytes(result_seal(worker, task, digest))).hex()
    )
