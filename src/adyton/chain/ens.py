"""ENS (EIP-137, EIP-181, EIP-634): name hashes, resolution both ways, text records, and the calldata to set them.

Names are lower case ASCII labels joined by dots, which is all that the protocol's own names use; others are refused
instead of being normalised wrongly.
"""

from __future__ import annotations

import re
from typing import Final

from adyton.base.errors import InputError
from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, Address, Bytes32, keccak, parse_address, word_bytes
from adyton.chain.abi import AbiError, Function
from adyton.chain.rpc import RevertError, Rpc

API_URL_KEY: Final = "iexec:workerpool-api:url"  # text record of a pool's name: where its scheduler answers
MAX_NAME: Final = 255

_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")
_OWNER = Function("owner(bytes32)", "(address)")
_RESOLVER = Function("resolver(bytes32)", "(address)")
_ADDR = Function("addr(bytes32)", "(address)")
_NAME = Function("name(bytes32)", "(string)")
_TEXT = Function("text(bytes32,string)", "(string)")
_SET_OWNER = Function("setOwner(bytes32,address)")
_SET_SUBNODE_OWNER = Function("setSubnodeOwner(bytes32,bytes32,address)")
_SET_RESOLVER = Function("setResolver(bytes32,address)")
_REGISTER = Function("register(bytes32,address)")
_SET_ADDR = Function("setAddr(bytes32,address)")
_SET_TEXT = Function("setText(bytes32,string,string)")
_SET_REVERSE_NAME = Function("setName(string)")


class EnsNameError(InputError):
    """Text that is no ENS name of the supported form."""

    code = "chain.ens.name"


def labels(name: str) -> list[str]:
    """The labels of a name; none for the root.

    Raises:
        EnsNameError: an empty, too long or non-ASCII label, or upper case.
    """
    if name == "":
        return []
    found = name.split(".")
    if len(name) > MAX_NAME or not all(_LABEL.fullmatch(label) for label in found):
        raise EnsNameError(f"{name[:MAX_NAME]!r} is not a lower case ENS name")
    return found


def namehash(name: str) -> Bytes32:
    """The node of a name (EIP-137).

    Raises:
        EnsNameError: not a name.
    """
    node = word_bytes(ZERO_BYTES32)
    for label in reversed(labels(name)):
        node = keccak(node + keccak(label.encode()))
    return Bytes32("0x" + node.hex())


def label_hash(label: str) -> Bytes32:
    """Keccak-256 of one label.

    Raises:
        EnsNameError: not one label.
    """
    if len(labels(label)) != 1:
        raise EnsNameError(f"{label!r} is not one label")
    return Bytes32("0x" + keccak(label.encode()).hex())


def reverse_node(address: Address) -> Bytes32:
    """The node of an address's reverse record (EIP-181)."""
    return namehash(f"{address[2:].lower()}.addr.reverse")


def is_name(text: str) -> bool:
    """Whether text given where an address is due is meant as a name."""
    return text.endswith(".eth")


class Ens:
    """Names of one chain.

    Args:
        rpc: the node.
        registry: the ENS registry contract.
    """

    def __init__(self, rpc: Rpc, registry: Address) -> None:
        self.rpc = rpc
        self.registry = registry

    def owner(self, name: str) -> Address:
        """Who owns a name; the zero address when nobody does."""
        return parse_address(self.rpc.read(self.registry, _OWNER, namehash(name)))

    def resolver(self, name: str) -> Address:
        """The resolver of a name; the zero address when it has none."""
        return self._resolver(namehash(name))

    def resolve(self, name: str) -> Address | None:
        """The address that a name stands for, or None."""
        node = namehash(name)
        resolver = self._resolver(node)
        if resolver == ZERO_ADDRESS:
            return None
        found = self._record(resolver, _ADDR, node)
        return None if found in {None, ZERO_ADDRESS} else parse_address(str(found))

    def lookup(self, address: Address) -> str | None:
        """The name of an address, or None; a name that does not resolve back to the address is not believed."""
        node = reverse_node(address)
        resolver = self._resolver(node)
        if resolver == ZERO_ADDRESS:
            return None
        name = self._record(resolver, _NAME, node)
        try:
            return name if name and self.resolve(name) == address else None
        except EnsNameError:
            return None

    def text(self, name: str, key: str) -> str | None:
        """A text record of a name (EIP-634), or None."""
        node = namehash(name)
        resolver = self._resolver(node)
        return None if resolver == ZERO_ADDRESS else self._record(resolver, _TEXT, node, key) or None

    def reverse_registrar(self) -> Address:
        """The contract through which an account names itself; the zero address when there is none."""
        return self.owner("addr.reverse")

    def _resolver(self, node: Bytes32) -> Address:
        return parse_address(self.rpc.read(self.registry, _RESOLVER, node))

    def _record(self, resolver: Address, function: Function, *values: str) -> str | None:
        try:
            return str(self.rpc.read(resolver, function, *values))
        except (RevertError, AbiError):  # a resolver is anybody's contract and need not have the function
            return None

    @staticmethod
    def set_owner(name: str, owner: Address) -> bytes:
        """Calldata for the registry: give a name away, as its owner."""
        return _SET_OWNER(namehash(name), owner)

    @staticmethod
    def set_subnode_owner(parent: str, label: str, owner: Address) -> bytes:
        """Calldata for the registry: create or take ``label.parent``, as the parent's owner."""
        return _SET_SUBNODE_OWNER(namehash(parent), label_hash(label), owner)

    @staticmethod
    def set_resolver(name: str, resolver: Address) -> bytes:
        """Calldata for the registry, as the name's owner."""
        return _SET_RESOLVER(namehash(name), resolver)

    @staticmethod
    def register(label: str, owner: Address) -> bytes:
        """Calldata for a first-come registrar (the owner of the parent name)."""
        return _REGISTER(label_hash(label), owner)

    @staticmethod
    def set_addr(name: str, address: Address) -> bytes:
        """Calldata for the resolver, as the name's owner."""
        return _SET_ADDR(namehash(name), address)

    @staticmethod
    def set_text(name: str, key: str, value: str) -> bytes:
        """Calldata for the resolver, as the name's owner."""
        return _SET_TEXT(namehash(name), key, value)

    @staticmethod
    def set_name(name: str) -> bytes:
        """Calldata for the reverse registrar: the sender's own reverse name."""
        return _SET_REVERSE_NAME(name)
