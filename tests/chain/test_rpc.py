"""The node client: against the real node, and against a node that answers wrongly, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from tests.conftest import Chain
from tests.ports import free_port

from adyton.base import errors
from adyton.base.types import ZERO_ADDRESS, Bytes32
from adyton.chain import abi
from adyton.chain.events import TOPICS
from adyton.chain.rpc import MAX_BATCH, RevertError, Rpc, RpcError, UnavailableError, revert_reason

REASON = bytes.fromhex("08c379a0") + abi.encode("(string)", "too early")


@contextmanager
def node_that_says(answer: object, status: int = 200) -> Iterator[Rpc]:
    """A server that answers everything with one JSON value, or raw bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            body = answer(request) if callable(answer) else answer
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        rpc = Rpc(f"http://127.0.0.1:{server.server_address[1]}", timeout_s=2)
        try:
            yield rpc
        finally:
            rpc.close()
            server.shutdown()
            thread.join()


def result(value: object) -> Callable[[dict[str, Any]], object]:
    return lambda request: {"jsonrpc": "2.0", "id": request["id"], "result": value}


def error(code: int, message: str, data: str | None = None) -> Callable[[dict[str, Any]], object]:
    return lambda request: {"id": request["id"], "error": {"code": code, "message": message, "data": data}}


def test_head_balance_and_code(chain: Chain) -> None:
    head = chain.rpc.head()
    assert chain.rpc.block(head.number).hash == head.hash
    assert chain.rpc.block_number() >= head.number
    assert chain.rpc.chain_id() == 134
    wallet = chain.funded_wallet(3)
    assert chain.rpc.balance(wallet.address) == 3 * 10**18
    assert chain.rpc.code(wallet.address) == b""
    assert chain.rpc.code(chain.deployment.hub)


def test_unknown_block_and_receipt(chain: Chain) -> None:
    with pytest.raises(errors.NotFoundError):
        chain.rpc.block(10**9)
    assert chain.rpc.receipt("0x" + "11" * 32) is None
    with pytest.raises(UnavailableError) as late:
        chain.rpc.wait_receipt("0x" + "11" * 32, timeout_s=0.1)
    assert late.value.code == "chain.tx.timeout"


def test_logs_of_the_deployment(chain: Chain) -> None:
    hub, topic = chain.deployment.hub, TOPICS["CreateCategory"]
    found = chain.rpc.logs(hub, [topic], 0, "latest")
    assert len(found) >= 5  # other tests may add some
    assert found == chain.rpc.logs([hub], [[topic, Bytes32("0x" + "11" * 32)]], 0, chain.rpc.block_number())
    assert chain.rpc.logs(ZERO_ADDRESS, [topic], 0, "latest") == []
    assert chain.rpc.logs(None, [topic], 0, "latest") == found


def test_batch_keeps_order_and_is_cut_into_requests(chain: Chain) -> None:
    count = MAX_BATCH + 3
    numbers = chain.rpc.batch(("eth_getBlockByNumber", [hex(index % 3), False]) for index in range(count))
    assert [int(block["number"], 16) for block in numbers] == [index % 3 for index in range(count)]


def test_batch_with_refused_calls(chain: Chain) -> None:
    calls: list[tuple[str, list[Any]]] = [("eth_chainId", []), ("no_such_method", []), ("eth_chainId", [])]
    outcomes = chain.rpc.batch_outcomes(calls)
    assert outcomes[0] == outcomes[2] == "0x86"
    assert isinstance(outcomes[1], RpcError)
    with pytest.raises(RpcError) as refused:
        chain.rpc.batch(calls)
    assert refused.value.rpc_code == -32601


def test_no_node() -> None:
    with pytest.raises(UnavailableError) as unavailable:
        Rpc(f"http://127.0.0.1:{free_port()}").head()
    assert unavailable.value.code == "chain.rpc.unavailable"
    assert isinstance(unavailable.value, errors.UnavailableError)


@pytest.mark.parametrize(
    ("data", "reason"),
    {
        "text": (REASON, "too early"),
        "panic": (bytes.fromhex("4e487b71") + abi.encode("(uint256)", 0x11), "panic 0x11"),
        "custom": (bytes.fromhex("deadbeef"), "custom error 0xdeadbeef"),
        "none": (b"", ""),
        "damaged text": (REASON[:40], ""),
    }.values(),
)
def test_revert_reason(data: bytes, reason: str) -> None:
    assert revert_reason(data) == reason
    with node_that_says(error(3, "execution reverted", "0x" + data.hex())) as rpc:
        with pytest.raises(RevertError) as refused:
            rpc.eth_call(ZERO_ADDRESS, b"")
        assert (refused.value.reason, refused.value.data, refused.value.code) == (reason, data, "chain.revert")


def test_other_errors_are_no_reverts() -> None:
    with node_that_says(error(-32000, "nonce too low")) as rpc, pytest.raises(RpcError) as refused:
        rpc.send_raw(b"")
    assert not isinstance(refused.value, RevertError)
    assert (refused.value.rpc_code, refused.value.code) == (-32000, "chain.rpc.error")


def test_error_inside_an_http_error_status() -> None:
    with (
        node_that_says(error(-32005, "rate limited"), status=429) as rpc,
        pytest.raises(RpcError, match="rate limited"),
    ):
        rpc.chain_id()


@pytest.mark.parametrize(
    ("answer", "status"),
    {
        "not JSON": (b"<html>", 200),
        "HTTP error": (b"<html>", 502),
        "a list": ([], 200),
        "no result": ({"id": 1}, 200),
        "error of the wrong shape": ({"id": 1, "error": "x"}, 200),
        "number that is none": (result("x"), 200),
        "null number": (result(None), 200),
    }.values(),
)
def test_answer_that_is_no_json_rpc(answer: object, status: int) -> None:
    with node_that_says(answer, status) as rpc, pytest.raises(UnavailableError):
        rpc.chain_id()


def test_what_a_provider_hides_in_its_address_is_in_no_message() -> None:
    rpc = Rpc("http://customer:pass@127.0.0.1:1/v3/key?token=more")
    with pytest.raises(UnavailableError) as caught:
        rpc.chain_id()
    assert "chain node at http://127.0.0.1:1 does not answer" in caught.value.message
    assert not any(hidden in caught.value.message for hidden in ("customer", "pass@", "v3", "token"))
    with node_that_says(b"<html>", 502) as there, pytest.raises(UnavailableError) as caught:
        there.call("eth_chainId")
    assert "answered 502" in caught.value.message


@pytest.mark.parametrize(
    ("method", "answer"),
    {
        "head": ("head", {"number": "0x1"}),
        "logs": ("logs", [{"address": "0x"}]),
        "receipt": ("receipt", {"transactionHash": 5}),
        "code": ("code", "abc"),
    }.values(),
)
def test_malformed_values(method: str, answer: object) -> None:
    calls = {
        "head": lambda rpc: rpc.head(),
        "logs": lambda rpc: rpc.logs(ZERO_ADDRESS, [], 0, 1),
        "receipt": lambda rpc: rpc.receipt("0x"),
        "code": lambda rpc: rpc.code(ZERO_ADDRESS),
    }
    with node_that_says(result(answer)) as rpc, pytest.raises(UnavailableError):
        calls[method](rpc)


def test_batch_answered_in_part_or_with_one_error() -> None:
    with node_that_says(lambda request: [{"id": request[0]["id"], "result": "0x1"}]) as rpc:
        assert rpc.batch([("a", [])]) == ["0x1"]
        with pytest.raises(UnavailableError):
            rpc.batch([("a", []), ("b", [])])
    too_large = {"id": None, "error": {"code": -32600, "message": "batch too large"}}
    with node_that_says(too_large) as rpc, pytest.raises(RpcError, match="batch too large"):
        rpc.batch([("a", [])])
    with node_that_says(5) as rpc, pytest.raises(UnavailableError):
        rpc.batch([("a", [])])


def test_batch_answered_in_another_order() -> None:
    with node_that_says(lambda r: [{"id": each["id"], "result": each["method"]} for each in reversed(r)]) as rpc:
        assert rpc.batch([("a", []), ("b", [])]) == ["a", "b"]
