"""Pools whose owner is a contract that the scheduler's key speaks and acts for, on the real contracts."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from tests.chain.lifecycle import GWEI
from tests.conftest import Chain
from tests.workerpool.arena import Arena, finish, make_arena
from tests.workerpool.owning_contract import create_owner

from adyton.base.types import Address
from adyton.chain.calldata import HubCalls
from adyton.chain.rpc import RevertError
from adyton.chain.wallet import Wallet
from adyton.workerpool.access import ChainAccess
from adyton.workerpool.actions import Action
from adyton.workerpool.scheduler.owner import OwnerCall, PoolOwner, PoolOwnerError

CALLS: tuple[OwnerCall, ...] = get_args(OwnerCall)


def owned(chain: Chain, folder: Path, results_url: str, call: OwnerCall, *, quiet: bool = False) -> Arena:
    """A pool of a contract, with money in the contract's account."""
    owner = chain.funded_wallet()
    account = create_owner(chain, owner, call, quiet=quiet)
    chain.sender(owner).send(chain.deployment.hub, HubCalls.deposit_for(account), 1_000_000 * GWEI)
    return make_arena(chain, folder, results_url, owner=owner, pool_owner=account)


@pytest.mark.parametrize("call", CALLS)
def test_a_contracts_pool_completes_and_reopens_tasks(
    own_chain: Chain, own_results: str, tmp_path: Path, call: OwnerCall
) -> None:
    arena = owned(own_chain, tmp_path, own_results, call)
    arena.changes["callback"] = Wallet.create().address  # the result proxy asks a key for its word, not a contract
    with arena.running(owner_call=call):
        before = arena.hub.view_account(arena.pool_owner)
        task = arena.buy(price=1000, callback=arena.changes["callback"])
        silent, honest = arena.player("silent"), arena.player("honest")
        silent.work(task)
        silent.told(task, Action.PLEASE_REVEAL)
        arena.travel(2.1)
        honest.work(task)
        finish(arena, task, [honest])
        after = arena.hub.view_account(arena.pool_owner)
        assert (after.locked, after.stake > before.stake) == (0, True)
    arena.close()


def test_a_contract_that_hides_a_refusal_does_not_deceive(own_chain: Chain, own_results: str, tmp_path: Path) -> None:
    arena = owned(own_chain, tmp_path, own_results, "execute", quiet=True)
    arena.changes["callback"] = Wallet.create().address
    with arena.running() as scheduler:
        task = arena.buy(callback=arena.changes["callback"])
        with pytest.raises(RevertError):
            scheduler.onchain.finalize(task, "x", "")
        player = arena.player("honest")
        player.work(task)
        finish(arena, task, [player])
    arena.close()


@pytest.fixture
def access(own_chain: Chain) -> ChainAccess:
    wallet = own_chain.funded_wallet()
    return ChainAccess(own_chain.rpc, own_chain.hub, own_chain.sender(wallet), wallet, own_chain.deployment.chain_id)


def test_a_key_that_does_not_speak_for_the_owner_is_refused(
    own_chain: Chain, own_results: str, tmp_path: Path, access: ChainAccess
) -> None:
    def find(owner: Address, call: OwnerCall = "execute") -> PoolOwner:
        folder = tmp_path / owner
        folder.mkdir(exist_ok=True)
        pool = make_arena(own_chain, folder, own_results, pool_owner=owner).address
        return PoolOwner.find(access, pool, call)

    assert find(access.wallet.address).address == access.wallet.address
    stranger = Wallet.create()
    with pytest.raises(PoolOwnerError, match="belongs to"):
        find(stranger.address)
    with pytest.raises(PoolOwnerError, match="does not accept"):
        find(create_owner(own_chain, stranger, "execute"))
    with pytest.raises(PoolOwnerError, match="passes no calls"):
        find(create_owner(own_chain, access.wallet, "execute"), "erc725")
    assert find(create_owner(own_chain, access.wallet, "erc725"), "erc725").address
