"""JSON-RPC to a node: bounded, batched, with typed errors and values (Ethereum JSON-RPC API, EIP-1474).

One :class:`Rpc` may be used by several threads.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from adyton.base import errors
from adyton.base.jsontext import parse_json
from adyton.base.types import Address, Bytes32, from_hex, parse_address, parse_bytes32, to_hex
from adyton.chain import abi
from adyton.web.keepalive import KeepAlive

MAX_BATCH: Final = 500  # calls in one HTTP request; longer sequences are cut
POLL_S: Final = 0.05
_MAX_POLL_S: Final = 1.0
_ERROR_SELECTOR: Final = bytes.fromhex("08c379a0")  # Error(string)
_PANIC_SELECTOR: Final = bytes.fromhex("4e487b71")  # Panic(uint256)

T = TypeVar("T")

BlockTag = int | str  # a number, or latest, pending, earliest, safe, finalized


class RpcError(errors.AdytonError):
    """The node refused a call.

    Attributes:
        rpc_code: the node's error number.
    """

    code = "chain.rpc.error"

    def __init__(self, message: str, *, rpc_code: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.rpc_code = rpc_code


class RevertError(RpcError):
    """A contract refused the call or transaction.

    Attributes:
        reason: the contract's text, empty when it gave none (as most checks of PoCo's task functions).
        data: raw revert data.
    """

    code = "chain.revert"

    def __init__(self, message: str, *, reason: str = "", data: bytes = b"", rpc_code: int = 3) -> None:
        super().__init__(message, rpc_code=rpc_code)
        self.reason = reason
        self.data = data


class UnavailableError(errors.UnavailableError):
    """The node does not answer, or not in time, or not with JSON-RPC."""

    code = "chain.rpc.unavailable"


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header as far as it is used; ``timestamp`` in seconds of Unix time."""

    number: int
    hash: Bytes32
    timestamp: int


@dataclass(frozen=True, slots=True)
class Log:
    """One event record of a contract."""

    address: Address
    topics: tuple[Bytes32, ...]
    data: bytes
    block_number: int
    block_hash: Bytes32
    transaction_hash: Bytes32
    log_index: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a mined transaction did; ``status`` 1 is success, ``gas_price`` in wei per gas."""

    transaction_hash: Bytes32
    block_number: int
    block_hash: Bytes32
    status: int
    gas_used: int
    gas_price: int
    contract_address: Address | None
    logs: tuple[Log, ...]


class Rpc:
    """A node.

    Args:
        url: HTTP address of its JSON-RPC.
        timeout_s: seconds for connecting and for each read.
    """

    def __init__(self, url: str, timeout_s: float = 10) -> None:
        self.url = url
        self._shown = _without_secrets(url)
        self._http = KeepAlive(url, "chain node", timeout_s=timeout_s)
        self._ids = itertools.count(1)

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def call(self, method: str, *params: Any) -> Any:  # noqa: ANN401  # JSON is any
        """Call one method.

        Raises:
            RevertError: a contract refused.
            RpcError: the node refused.
            UnavailableError: no answer.
        """
        answer = self._post(self._request(method, params))
        return _result(answer)

    def batch(self, calls: Iterable[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Call several methods in as few requests as :data:`MAX_BATCH` allows; results in order.

        Raises:
            RevertError, RpcError: the first call that the node refused.
            UnavailableError: no answer, or not one for each call.
        """
        return [_result(answer) for answer in self._batch(calls)]

    def batch_outcomes(self, calls: Iterable[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        """Like :meth:`batch`, with the error in the place of a refused call's result."""
        return [_outcome(answer) for answer in self._batch(calls)]

    def chain_id(self) -> int:
        """The EIP-155 chain id."""
        return _int(self.call("eth_chainId"))

    def block_number(self) -> int:
        """The number of the newest block."""
        return _int(self.call("eth_blockNumber"))

    def head(self) -> Block:
        """The newest block."""
        return self.block("latest")

    def block(self, number: BlockTag) -> Block:
        """A block by number or tag.

        Raises:
            NotFoundError: the node has no such block.
        """
        found = self.call("eth_getBlockByNumber", _block_tag(number), False)
        if found is None:
            raise errors.NotFoundError(f"block {number} does not exist", code="chain.block.unknown")
        return _parsed(_block, found)

    def eth_call(self, to: Address, data: bytes, block: BlockTag = "latest", *, sender: Address | None = None) -> bytes:
        """Run a contract function without a transaction and return the raw result.

        Raises:
            RevertError: the contract refused.
        """
        return _bytes(self.call("eth_call", _call_object(to, data, sender), _block_tag(block)))

    def eth_calls(self, calls: Iterable[tuple[Address, bytes]], block: BlockTag = "latest") -> list[bytes]:
        """Several :meth:`eth_call` in one batch.

        Raises:
            RevertError: the first that was refused.
        """
        tag = _block_tag(block)
        return [_bytes(each) for each in self.batch(("eth_call", [_call_object(*c), tag]) for c in calls)]

    def read(self, to: Address, function: abi.Function, *values: Any, block: BlockTag = "latest") -> Any:  # noqa: ANN401
        """Call a function and decode its result.

        Raises:
            RevertError: the contract refused.
            AbiError: the answer is not the function's (no contract there, or another).
        """
        return function.result(self.eth_call(to, function(*values), block))

    def read_many(
        self, calls: Sequence[tuple[Address, abi.Function, Sequence[Any]]], block: BlockTag = "latest"
    ) -> list[Any]:
        """Several :meth:`read` in one batch."""
        raw = self.eth_calls([(to, function(*values)) for to, function, values in calls], block)
        return [function.result(data) for (_, function, _), data in zip(calls, raw, strict=True)]

    def code(self, address: Address) -> bytes:
        """The code at an address; empty when it is no contract."""
        return _bytes(self.call("eth_getCode", address, "latest"))

    def balance(self, address: Address) -> int:
        """The native balance in wei."""
        return _int(self.call("eth_getBalance", address, "latest"))

    def logs(
        self,
        address: Address | Sequence[Address] | None,
        topics: Sequence[Bytes32 | Sequence[Bytes32] | None],
        from_block: BlockTag,
        to_block: BlockTag,
    ) -> list[Log]:
        """Event records in a range of blocks, ends included, oldest first; an inner sequence of topics means any."""
        query = {
            "topics": [list(topic) if topic is not None and not isinstance(topic, str) else topic for topic in topics],
            "fromBlock": _block_tag(from_block),
            "toBlock": _block_tag(to_block),
        }
        if address is not None:
            query["address"] = address if isinstance(address, str) else list(address)
        found = self.call("eth_getLogs", query)
        return _parsed(lambda items: [_log(item) for item in items], found)

    def send_raw(self, raw: bytes) -> Bytes32:
        """Hand in a signed transaction and return its hash."""
        return parse_bytes32(self.call("eth_sendRawTransaction", to_hex(raw)))

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """The receipt of a mined transaction, or None."""
        found = self.call("eth_getTransactionReceipt", transaction_hash)
        return None if found is None else _parsed(parse_receipt, found)

    def wait_receipt(self, transaction_hash: str, timeout_s: float = 60) -> Receipt:
        """Wait until a transaction is mined.

        Raises:
            UnavailableError: not mined in time; it may still be later.
        """
        deadline = time.monotonic() + timeout_s
        pause = POLL_S
        while True:
            receipt = self.receipt(transaction_hash)
            if receipt is not None:
                return receipt
            if time.monotonic() + pause > deadline:
                raise UnavailableError(
                    f"transaction {transaction_hash} was not mined within {timeout_s:g} s",
                    code="chain.tx.timeout",
                    hint="the chain may be stopped; look the transaction up again before repeating it",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, _MAX_POLL_S / 4)

    def _request(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}

    def _batch(self, calls: Iterable[tuple[str, Sequence[Any]]]) -> list[dict[str, Any]]:
        requests = [self._request(method, params) for method, params in calls]
        answers: list[dict[str, Any]] = []
        for begin in range(0, len(requests), MAX_BATCH):
            part = requests[begin : begin + MAX_BATCH]
            found = self._post(part)
            if not isinstance(found, list):
                raise _refusal(found) if isinstance(found, dict) else UnavailableError("the node's batch is no list")
            by_id = {answer.get("id"): answer for answer in found if isinstance(answer, dict)}
            if any(request["id"] not in by_id for request in part):
                raise UnavailableError("the node answered a batch only in part")
            answers += [by_id[request["id"]] for request in part]
        return answers

    def _post(self, body: Any) -> Any:  # noqa: ANN401
        try:
            status, data = self._http.post(json.dumps(body).encode())
        except errors.UnavailableError as error:
            raise UnavailableError(error.message.replace(self.url, self._shown), hint=error.hint) from error
        try:
            return parse_json(data)  # whatever the status: some nodes send JSON-RPC errors with one of HTTP
        except ValueError as error:
            what = "something that is not JSON" if status == 200 else f"{status}"
            raise UnavailableError(f"the chain node at {self._shown} answered {what}") from error


def _without_secrets(url: str) -> str:
    """Where a node is, for messages, which services pass on: providers put their customers' keys into the rest."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def revert_reason(data: bytes) -> str:
    """The text in revert data: ``Error(string)``, a panic's number, or a custom error's selector; empty for none."""
    try:
        if data[:4] == _ERROR_SELECTOR:
            return str(abi.decode("(string)", data[4:])[0])
        if data[:4] == _PANIC_SELECTOR:
            return f"panic 0x{abi.decode('(uint256)', data[4:])[0]:02x}"
    except abi.AbiError:
        return ""
    return f"custom error {to_hex(data[:4])}" if len(data) >= 4 else ""


def parse_receipt(found: dict[str, Any]) -> Receipt:
    """Read a receipt as the node writes it."""
    created = found.get("contractAddress")
    return Receipt(
        transaction_hash=parse_bytes32(found["transactionHash"]),
        block_number=_int(found["blockNumber"]),
        block_hash=parse_bytes32(found["blockHash"]),
        status=_int(found["status"]),
        gas_used=_int(found["gasUsed"]),
        gas_price=_int(found.get("effectiveGasPrice", "0x0")),
        contract_address=None if created is None else parse_address(created),
        logs=tuple(_log(item) for item in found["logs"]),
    )


def _outcome(answer: dict[str, Any]) -> Any | RpcError:  # noqa: ANN401
    return answer["result"] if "result" in answer else _refusal(answer)


def _result(answer: Any) -> Any:  # noqa: ANN401
    if not isinstance(answer, dict):
        raise UnavailableError("the node's answer is not JSON-RPC")
    found = _outcome(answer)
    if isinstance(found, RpcError):
        raise found
    return found


def _refusal(answer: dict[str, Any]) -> RpcError:
    error = answer.get("error")
    if not isinstance(error, dict):
        raise UnavailableError("the node's answer is not JSON-RPC")
    message, number = str(error.get("message", ""))[:500], error.get("code")
    rpc_code = number if isinstance(number, int) else 0
    if rpc_code != 3 and "revert" not in message.lower():
        return RpcError(f"the node refused: {message}", rpc_code=rpc_code)
    data = error.get("data")
    try:
        raw = from_hex(data) if isinstance(data, str) else b""
    except errors.InputError:
        raw = b""
    reason = revert_reason(raw)
    return RevertError(
        f"the contract refused: {reason or 'no reason given'}", reason=reason, data=raw, rpc_code=rpc_code
    )


def _parsed(reader: Callable[[Any], T], found: Any) -> T:  # noqa: ANN401  # JSON is any
    try:
        return reader(found)
    except (KeyError, TypeError, ValueError, AttributeError, errors.InputError) as error:
        raise UnavailableError(f"the node's answer is malformed: {error}") from error


def _block(found: dict[str, Any]) -> Block:
    return Block(_int(found["number"]), parse_bytes32(found["hash"]), _int(found["timestamp"]))


def _log(found: dict[str, Any]) -> Log:
    return Log(
        address=parse_address(found["address"]),
        topics=tuple(parse_bytes32(topic) for topic in found["topics"]),
        data=from_hex(found["data"]),
        block_number=_int(found["blockNumber"]),
        block_hash=parse_bytes32(found["blockHash"]),
        transaction_hash=parse_bytes32(found["transactionHash"]),
        log_index=_int(found["logIndex"]),
    )


def _call_object(to: Address, data: bytes, sender: Address | None = None) -> dict[str, str]:
    call = {"to": to, "data": to_hex(data)}
    return call if sender is None else call | {"from": sender}


def _block_tag(block: BlockTag) -> str:
    return hex(block) if isinstance(block, int) else block


def _int(value: Any) -> int:  # noqa: ANN401
    try:
        return int(value, 16)
    except (TypeError, ValueError) as error:
        raise UnavailableError(f"the node answered {value!r} where a number is due") from error


def _bytes(value: Any) -> bytes:  # noqa: ANN401
    try:
        return from_hex(value)
    except errors.InputError as error:
        raise UnavailableError("the node did not answer with hex data") from error
