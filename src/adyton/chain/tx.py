"""Sending transactions from one account: legacy transactions with replay protection (EIP-155).

Legacy form is enough: the local networks charge no gas, and every network of the protocol accepts it. A sender
serialises its account's nonces, so several threads may share it; two senders for one account in two processes are
brought back in step by the node's answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adyton.base.errors import AdytonError
from adyton.base.types import Address, Bytes32, keccak, parse_bytes32, to_hex
from adyton.chain.rpc import Receipt, RevertError, Rpc, RpcError
from adyton.chain.wallet import Wallet

GAS_MARGIN_PERCENT: Final = 30
CALLBACK_MARGIN: Final = 200_000  # gas; PoCo asserts that 1/63 of its callback gas is left, which no estimate sees
RETRIES: Final = 5
LOCAL_NONCE_S: Final = 30.0  # how long the own count is trusted above the node's, which may lag behind a balancer


class ChainMismatchError(AdytonError):
    """The node is of another chain than the one that is configured."""

    code = "chain.tx.chain"


@dataclass(frozen=True, slots=True)
class Transaction:
    """An unsigned legacy transaction; amounts in wei, ``to`` None creates a contract."""

    nonce: int
    gas_price: int
    gas: int
    to: Address | None
    value: int
    data: bytes
    chain_id: int

    def sign(self, wallet: Wallet) -> bytes:
        """The signed transaction as nodes take it (EIP-155, ``v = 35 + 2 * chain id + parity``)."""
        import rlp  # noqa: PLC0415  # 40 ms that readers of the chain need not pay

        body = [
            self.nonce,
            self.gas_price,
            self.gas,
            b"" if self.to is None else bytes.fromhex(self.to[2:]),
            self.value,
            self.data,
        ]
        signature = wallet.sign_digest(keccak(rlp.encode([*body, self.chain_id, 0, 0])))
        v = 35 + 2 * self.chain_id + signature[64] - 27
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64])
        return bytes(rlp.encode([*body, v, r, s]))


class TxSender:
    """Sends from one account and waits for one confirmation.

    Args:
        rpc: the node.
        wallet: the account.
        chain_id: EIP-155 id that the signatures are bound to.
        gas_price: wei per gas; 0 on networks without fees, None asks the node each time.
    """

    def __init__(self, rpc: Rpc, wallet: Wallet, chain_id: int, *, gas_price: int | None = 0) -> None:
        self._rpc = rpc
        self._wallet = wallet
        self._chain_id = chain_id
        self._gas_price = gas_price
        self._lock = threading.Lock()
        self._is_right_chain = False
        self._next_nonce = 0
        self._sent_at = float("-inf")

    @property
    def address(self) -> Address:
        """The account that sends."""
        return self._wallet.address

    def send(
        self,
        to: Address | None,
        data: bytes = b"",
        value: int = 0,
        gas: int | None = None,
        *,
        timeout_s: float = 60,
    ) -> Receipt:
        """Send one transaction and wait until it is mined.

        Args:
            to: contract or account; None creates a contract from ``data``.
            data: calldata or creation code.
            value: wei.
            gas: limit; None estimates, which also finds most reverts before anything is sent.
            timeout_s: seconds to wait for the block.

        Raises:
            RevertError: the contract refuses, found by the estimate or in the mined transaction.
            RpcError: the node refuses the transaction.
            ChainMismatchError: the node is of another chain.
            UnavailableError: no node, or not mined in time (code ``chain.tx.timeout``).
        """
        return self._confirmed(self.submit(to, data, value, gas), (to, data, value), timeout_s)

    def submit(self, to: Address | None, data: bytes = b"", value: int = 0, gas: int | None = None) -> Bytes32:
        """Hand in one transaction and return its hash without waiting; errors as :meth:`send`, but for mining."""
        self._check_chain()
        if gas is None:
            gas = self.estimate(to, data, value)
        gas_price = self._gas_price if self._gas_price is not None else int(self._rpc.call("eth_gasPrice"), 16)
        with self._lock:
            for attempt in range(RETRIES):
                transaction = Transaction(self._nonce(), gas_price, gas, to, value, data, self._chain_id)
                raw = transaction.sign(self._wallet)
                try:
                    sent = self._rpc.send_raw(raw)
                except RpcError as error:
                    self._sent_at = float("-inf")
                    if _is_known(error):
                        sent = parse_bytes32(to_hex(keccak(raw)))
                    elif _is_nonce_conflict(error) and attempt + 1 < RETRIES:
                        continue
                    else:
                        raise
                self._next_nonce = transaction.nonce + 1
                self._sent_at = time.monotonic()
                return sent
        raise AssertionError("the last attempt returns or raises")

    def send_all(self, calls: Sequence[tuple[Address, bytes]], gas: int, *, timeout_s: float = 60) -> list[Receipt]:
        """Send several calls in order, mostly into one block, and wait for all.

        Nothing is estimated, as a call may depend on the ones before it.

        Args:
            calls: addresses and calldata.
            gas: limit of each.
            timeout_s: seconds to wait for each.

        Raises:
            RevertError: the first that reverted; later ones may have been mined.
            RpcError, UnavailableError: as :meth:`send`.
        """
        hashes = [self.submit(to, data, 0, gas) for to, data in calls]
        receipts = []
        for (to, data), transaction_hash in zip(calls, hashes, strict=True):
            receipts.append(self._confirmed(transaction_hash, (to, data, 0), timeout_s))
        return receipts

    def estimate(self, to: Address | None, data: bytes, value: int = 0) -> int:
        """Gas for a transaction, with a margin for state that moves and for result callbacks.

        Raises:
            RevertError: the contract refuses.
        """
        call = {"from": self.address, "data": to_hex(data), "value": hex(value)}
        if to is not None:
            call["to"] = to
        needed = int(self._rpc.call("eth_estimateGas", call), 16)
        if needed == 21_000 and not data:
            return needed  # a plain transfer costs exactly this; a margin would make "send all" impossible
        return needed * (100 + GAS_MARGIN_PERCENT) // 100 + CALLBACK_MARGIN

    def _confirmed(
        self, transaction_hash: Bytes32, call: tuple[Address | None, bytes, int], timeout_s: float
    ) -> Receipt:
        try:
            receipt = self._rpc.wait_receipt(transaction_hash, timeout_s)
        except BaseException:
            self._forget_nonce()  # what is not mined may never be: believe the node next time
            raise
        if receipt.status != 1:
            raise self._reverted(receipt, *call)
        return receipt

    def _check_chain(self) -> None:
        if not self._is_right_chain:
            found = self._rpc.chain_id()
            if found != self._chain_id:  # some nodes take such a transaction and never mine it
                raise ChainMismatchError(
                    f"the node's chain is {found}, transactions are for chain {self._chain_id}",
                    hint="check the node's address and the configured chain id",
                )
            self._is_right_chain = True

    def _nonce(self) -> int:
        pending = int(self._rpc.call("eth_getTransactionCount", self.address, "pending"), 16)
        fresh = time.monotonic() - self._sent_at < LOCAL_NONCE_S
        return max(pending, self._next_nonce) if fresh else pending

    def _forget_nonce(self) -> None:
        with self._lock:
            self._sent_at = float("-inf")

    def _reverted(self, receipt: Receipt, to: Address | None, data: bytes, value: int) -> RevertError:
        reason = ""
        call = {"from": self.address, "data": to_hex(data), "value": hex(value)} | ({"to": to} if to else {})
        try:  # the receipt has no reason; the state it ran on is gone, the newest mostly gives the same answer
            self._rpc.call("eth_call", call, "latest")
        except RevertError as error:
            reason = error.reason
        except RpcError:
            pass
        return RevertError(
            f"transaction {receipt.transaction_hash} was mined and reverted: {reason or 'no reason given'}",
            reason=reason,
        )


def _is_nonce_conflict(error: RpcError) -> bool:
    text = error.message.lower()
    return "nonce too low" in text or "nonce too high" in text or "replacement transaction underpriced" in text


def _is_known(error: RpcError) -> bool:
    text = error.message.lower()
    return "already known" in text or "already imported" in text
