"""Money: balances of wallets, stake in the hub, transfers. Amounts are nRLC unless named wei."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adyton.base.types import Address, Bytes32
from adyton.chain.abi import Function
from adyton.chain.calldata import HubCalls
from adyton.chain.models import Account
from adyton.sdk.errors import ClientError
from adyton.sdk.session import Session
from adyton.sdk.units import WEI_PER_NRLC

_BALANCE_OF: Final = Function("balanceOf(address)", "(uint256)")


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds outside the hub. ``wei`` is 0-based native currency; on a native chain it *is* the RLC."""

    wei: int
    nrlc: int


def balance(session: Session, address: Address) -> Balance:
    """Native currency and RLC of an account."""
    wei = session.rpc.balance(address)
    if session.token is None:
        return Balance(wei, wei // WEI_PER_NRLC)
    return Balance(wei, int(session.rpc.read(session.token, _BALANCE_OF, address)))


def stake(session: Session, address: Address) -> Account:
    """What an account has inside the hub."""
    return session.hub.view_account(address)


def deposit(session: Session, amount: int) -> Bytes32:
    """Move RLC from the wallet into the hub; returns the transaction's hash.

    Raises:
        ClientError: nothing to deposit, or more than the wallet holds.
        NodeError: the transaction failed.
    """
    if amount == 0:
        raise ClientError("Deposit amount must be greater than 0", code="sdk.account.amount")
    if balance(session, session.wallet.address).nrlc < amount:
        raise ClientError("Deposit amount exceed wallet balance", code="sdk.account.balance")
    if session.token is None:
        return session.send(session.chain.hub, HubCalls.deposit(), amount * WEI_PER_NRLC).transaction_hash
    call = HubCalls.approve_and_call(session.chain.hub, amount)
    return session.send(session.token, call).transaction_hash


def withdraw(session: Session, amount: int) -> Bytes32:
    """Move free stake from the hub to the wallet; returns the transaction's hash.

    Raises:
        ClientError: nothing to withdraw, or more than is free.
        NodeError: the transaction failed.
    """
    if amount == 0:
        raise ClientError("Withdraw amount must be greater than 0", code="sdk.account.amount")
    if stake(session, session.wallet.address).stake < amount:
        raise ClientError("Withdraw amount exceed account balance", code="sdk.account.balance")
    return session.send(session.chain.hub, HubCalls.withdraw(amount)).transaction_hash


def send_rlc(session: Session, amount: int, to: Address) -> Bytes32:
    """Transfer RLC from wallet to wallet; returns the transaction's hash.

    Raises:
        ClientError: more than the wallet holds.
        NodeError: the transaction failed.
    """
    if balance(session, session.wallet.address).nrlc < amount:
        raise ClientError("Amount to send exceed wallet balance", code="sdk.account.balance")
    if session.token is None:
        return session.send(to, b"", amount * WEI_PER_NRLC).transaction_hash
    return session.send(session.token, HubCalls.transfer(to, amount)).transaction_hash
