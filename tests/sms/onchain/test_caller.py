"""The sender of calls: seen by the contract that is called, on the real chain."""

from __future__ import annotations

from tests.chain.lifecycle import actor
from tests.conftest import Chain

from adyton.chain.contracts import Hub
from adyton.chain.wallet import Wallet
from adyton.sms.onchain.caller import CallerRpc

WHO_CALLS = bytes.fromhex("6009600c60003960096000f3" + "3360005260206000f3")  # returns msg.sender


def test_contracts_see_the_caller(chain: Chain) -> None:
    contract = actor(chain).sender.send(None, WHO_CALLS).contract_address
    assert contract is not None
    caller = Wallet.create().address
    rpc = CallerRpc(chain.url, caller)
    assert rpc.eth_call(contract, b"")[12:].hex() == caller[2:].lower()
    assert [raw[12:].hex() for raw in rpc.eth_calls([(contract, b"")] * 2)] == [caller[2:].lower()] * 2
    assert rpc.chain_id() == chain.deployment.chain_id
    assert Hub(rpc, chain.deployment.hub).domain() == chain.hub.domain()
    rpc.close()
