from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import Chain

from adyton.base.secret import Secret
from adyton.base.types import parse_address
from adyton.chain.anvil import set_balance
from adyton.chain.contracts import Hub
from adyton.chain.rpc import RevertError, RpcError
from adyton.chain.tx import ChainMismatchError, Transaction, TxSender
from adyton.chain.wallet import Wallet

NUMBERS = st.integers(0, 2**64)


@given(
    st.binary(min_size=31, max_size=31), NUMBERS, NUMBERS, st.integers(0, 2**200), st.binary(max_size=90), st.booleans()
)
@settings(max_examples=40, deadline=None)
def test_signed_transaction_is_that_of_eth_account(  # noqa: PLR0917  # the fields of a transaction
    key: bytes, nonce: int, gas: int, value: int, data: bytes, creates: bool
) -> None:
    wallet = Wallet(Secret(b"\1" + key))
    to = None if creates else parse_address("0x" + "ab" * 20)
    ours = Transaction(nonce, 7, gas, to, value, data, 134).sign(wallet)
    fields = {"nonce": nonce, "gasPrice": 7, "gas": gas, "value": value, "data": data, "chainId": 134}
    oracle = Account.sign_transaction(fields if to is None else fields | {"to": to}, b"\1" + key)
    assert ours == bytes(oracle.raw_transaction)


def test_transfer_without_fees(chain: Chain) -> None:
    sender, target = chain.sender(chain.funded_wallet(2)), Wallet.create()
    receipt = sender.send(target.address, value=2 * 10**18)
    assert (receipt.status, receipt.gas_used, receipt.gas_price) == (1, 21_000, 0)
    assert (chain.rpc.balance(target.address), chain.rpc.balance(sender.address)) == (2 * 10**18, 0)


def test_account_without_money_can_call(chain: Chain) -> None:
    sender = chain.sender(Wallet.create())
    assert sender.send(chain.deployment.hub, Hub.approve(chain.admin.address, 5)).status == 1
    assert chain.hub.allowance(sender.address, chain.admin.address) == 5


def test_threads_share_a_sender(chain: Chain) -> None:
    sender = chain.sender(Wallet.create())
    hub = chain.deployment.hub
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda n: sender.send(hub, Hub.approve(chain.admin.address, n)), range(24)))
    assert all(receipt.status == 1 for receipt in receipts)
    assert int(chain.rpc.call("eth_getTransactionCount", sender.address, "latest"), 16) == 24


def test_two_senders_of_one_account_get_in_step(chain: Chain) -> None:
    wallet = Wallet.create()
    senders = [chain.sender(wallet), chain.sender(wallet)]
    call = Hub.approve(chain.admin.address, 1)
    for index in range(6):
        assert senders[index % 2].send(chain.deployment.hub, call).status == 1
    with ThreadPoolExecutor(2) as pool:
        work = [pool.submit(sender.send, chain.deployment.hub, call) for sender in senders * 5]
    assert {job.result().status for job in work} == {1}


def test_nonce_that_is_ahead_of_the_chain_recovers(chain: Chain) -> None:
    sender = chain.sender(Wallet.create())
    call = Hub.approve(chain.admin.address, 1)
    sender.send(chain.deployment.hub, call)
    sender._next_nonce += 5  # as after a node lost its last blocks
    with pytest.raises(Exception, match="not mined"):
        sender.send(chain.deployment.hub, call, timeout_s=0.2)
    assert sender.send(chain.deployment.hub, call).status == 1


def test_revert_is_found_before_sending(chain: Chain) -> None:
    sender = chain.sender(Wallet.create())
    with pytest.raises(RevertError):
        sender.send(chain.deployment.hub, Hub.withdraw(5))
    assert int(chain.rpc.call("eth_getTransactionCount", sender.address, "latest"), 16) == 0


def test_revert_in_a_block_has_its_reason_too(chain: Chain) -> None:
    sender = chain.sender(Wallet.create())
    with pytest.raises(RevertError, match="mined and reverted") as refused:
        sender.send(chain.deployment.hub, Hub.set_tee_broker(sender.address), gas=500_000)
    assert refused.value.reason == "Ownable: caller is not the owner"
    assert sender.send(chain.deployment.hub, Hub.approve(chain.admin.address, 1)).status == 1


def test_sending_more_than_there_is(chain: Chain) -> None:
    sender = chain.sender(Wallet.create())
    set_balance(chain.rpc, sender.address, 5)
    with pytest.raises(RpcError):
        sender.send(chain.admin.address, value=6, gas=21_000)
    assert sender.send(chain.admin.address, value=5, gas=21_000).status == 1


def test_gas_price_is_paid(chain: Chain) -> None:
    wallet = chain.funded_wallet(1)
    paying = TxSender(chain.rpc, wallet, 134, gas_price=3)
    assert paying.send(chain.admin.address, value=1).gas_price == 3
    assert chain.rpc.balance(wallet.address) == 10**18 - 1 - 3 * 21_000
    asking = TxSender(chain.rpc, wallet, 134, gas_price=None)
    assert asking.send(chain.admin.address, value=1).status == 1


def test_other_chain_id_is_refused(chain: Chain) -> None:
    sender = TxSender(chain.rpc, Wallet.create(), 1)
    with pytest.raises(ChainMismatchError, match="is 134"):
        sender.send(chain.deployment.hub, Hub.approve(chain.admin.address, 1))


def test_many_in_order(chain: Chain) -> None:
    sender = chain.sender(Wallet.create())
    hub = chain.deployment.hub
    calls = [(hub, Hub.approve(chain.admin.address, amount)) for amount in (3, 2, 1)]
    receipts = sender.send_all(calls, 200_000)
    assert [receipt.status for receipt in receipts] == [1, 1, 1]
    assert chain.hub.allowance(sender.address, chain.admin.address) == 1
    with pytest.raises(RevertError):
        sender.send_all([(hub, Hub.withdraw(9))], 200_000)
