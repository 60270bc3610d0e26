"""The account that owns the pool: the scheduler's own, or a contract that this key speaks and acts for.

A pool's owner signs authorizations and orders, which may be a contract's word (ERC-1271): the key only has to be one
that the contract accepts. The owner has to call ``finalize`` and ``reopen`` itself, so a contract must pass calls on,
by ``execute(address,uint256,bytes)`` (multi-signature and smart accounts) or by
``execute(uint256,address,uint256,bytes)`` (ERC-725X with an ERC-734 key manager, where the key needs the purpose to
act).
"""

from __future__ import annotations

import os
from typing import Final, Literal

from adyton.base.errors import InputError
from adyton.base.types import Address, Bytes32, to_hex
from adyton.chain.abi import Function
from adyton.chain.calldata import TEE_BROKER
from adyton.chain.contracts import owner_of
from adyton.chain.rpc import Receipt, RevertError
from adyton.chain.tx import CALLBACK_MARGIN, GAS_MARGIN_PERCENT
from adyton.chain.wallet import personal_digest
from adyton.workerpool.access import ChainAccess

OwnerCall = Literal["execute", "erc725"]

_CALLS: Final[dict[OwnerCall, Function]] = {
    "execute": Function("execute(address,uint256,bytes)", "(bytes)"),
    "erc725": Function("execute(uint256,address,uint256,bytes)", "(bytes)"),
}
_FORWARD_GAS: Final = 150_000  # for what the owning contract does itself


class PoolOwnerError(InputError):
    """The scheduler's key can neither sign nor act for the pool's owner."""

    code = "scheduler.owner"
    hint = "use the key of the pool's owner, or one that the owning contract accepts (setting owner_call)"


class PoolOwner:
    """Speaks to the hub as the owner of a pool.

    Args:
        access: the chain, with the scheduler's account.
        address: the owner.
        call: how a contract passes a call on; None when the owner is the scheduler's own account.
    """

    def __init__(self, access: ChainAccess, address: Address, call: OwnerCall | None) -> None:
        self.address = address
        self._access = access
        self._call = call

    @classmethod
    def find(cls, access: ChainAccess, pool: Address, call: OwnerCall = "execute") -> PoolOwner:
        """The owner of a pool, after it was shown that the scheduler's key speaks for it.

        Args:
            access: the chain, with the scheduler's account.
            pool: the workerpool contract.
            call: how the owner passes calls on, should it be a contract.

        Raises:
            PoolOwnerError: the key is not the owner's, and the owner is no contract that accepts it.
            NotFoundError: there is no pool.
            UnavailableError: the chain does not answer.
        """
        address = owner_of(access.rpc, pool)
        if address == access.wallet.address:
            return cls(access, address, None)
        if not access.rpc.code(address):
            raise PoolOwnerError(f"pool {pool} belongs to {address}, not to {access.wallet.address}")
        message = os.urandom(32)
        digest = Bytes32(to_hex(personal_digest(message)))
        if not access.hub.verify_signature(address, digest, access.wallet.sign_personal(message)):
            raise PoolOwnerError(f"contract {address}, which owns pool {pool}, does not accept the key's signatures")
        owner = cls(access, address, call)
        try:
            access.rpc.eth_call(address, owner.wrap(TEE_BROKER()), sender=access.wallet.address)
        except RevertError as error:
            raise PoolOwnerError(
                f"contract {address}, which owns pool {pool}, passes no calls of {access.wallet.address} on"
            ) from error
        return owner

    def send(self, calldata: bytes) -> Receipt:
        """Call the hub as the owner and wait until it is mined.

        A contract may swallow the hub's refusal, or what happens when its gas runs out. So the hub's own need of gas is
        asked for, as the owner, which finds refusals first; callers look at the chain afterwards all the same.

        Raises:
            RevertError: refused.
            UnavailableError: no node, or not mined in time.
        """
        if self._call is None:
            return self._access.sender.send(self._access.hub.address, calldata)
        call = {"from": self.address, "to": self._access.hub.address, "data": to_hex(calldata)}
        needed = int(self._access.rpc.call("eth_estimateGas", call), 16)
        gas = (needed * (100 + GAS_MARGIN_PERCENT) // 100 + CALLBACK_MARGIN) * 64 // 63 + _FORWARD_GAS  # EIP-150
        return self._access.sender.send(self.address, self.wrap(calldata), gas=gas)

    def wrap(self, calldata: bytes) -> bytes:
        """A call of the hub as a contract takes it to pass it on."""
        if self._call is None:
            return calldata
        arguments = (self._access.hub.address, 0, calldata)
        return _CALLS[self._call](*((0, *arguments) if self._call == "erc725" else arguments))
