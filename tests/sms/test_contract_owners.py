"""Contract accounts as owners, requesters and workerpools, with a real contract on the real chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.chain.lifecycle import GWEI, Actor, Market, actor
from tests.conftest import Chain
from tests.sms.contract_account import create_contract_account
from tests.sms.support import MRENCLAVE, Service, authorization, running

from adyton.base.types import ZERO_BYTES32, Address, Bytes32, word_bytes
from adyton.chain import tags
from adyton.chain.contracts import Hub
from adyton.chain.events import AssetTransfer, find
from adyton.chain.hashing import task_id
from adyton.chain.wallet import Wallet, personal_digest
from adyton.sms.access import recipes
from adyton.sms.onchain.hub_view import HubView
from adyton.sms.wire import IPFS_TOKEN

CONTROLLER, OTHER = Wallet.create(), Wallet.create()


@pytest.fixture(scope="module")
def account(chain: Chain) -> Address:
    return create_contract_account(chain, CONTROLLER)


@pytest.fixture(scope="module")
def market(chain: Chain) -> Market:
    return Market.open(chain)


@pytest.fixture
def service(chain: Chain, tmp_path: Path) -> Iterator[Service]:
    chain.rpc.call("evm_mine")  # instant blocks: without a transaction the head grows old
    deployment = chain.deployment
    with running(
        tmp_path,
        real_chain=True,
        node_url=chain.url,
        hub=deployment.hub,
        chain_id=deployment.chain_id,
        contract_checks_per_s=100,
    ) as started:
        yield started


def view(chain: Chain) -> HubView:
    return HubView(Hub(chain.rpc, chain.deployment.hub), chain.deployment.chain_id)


def test_what_contracts_say(chain: Chain, account: Address) -> None:
    digest = personal_digest(b"\x01" * 32)
    seen = view(chain)
    assert seen.accepts_signature(account, digest, CONTROLLER.sign_digest(digest)) is True
    assert seen.accepts_signature(account, digest, CONTROLLER.sign_digest(digest) + b"more") is True
    assert seen.accepts_signature(account, digest, OTHER.sign_digest(digest)) is False
    assert seen.accepts_signature(OTHER.address, digest, CONTROLLER.sign_digest(digest)) is None  # no contract
    # the hub is a contract with a fallback that answers anything with nothing
    assert seen.accepts_signature(chain.deployment.hub, digest, CONTROLLER.sign_digest(digest)) is not True


def test_a_contract_that_owns_a_dataset(market: Market, account: Address, service: Service) -> None:
    registry, owner = market.registries.dataset, market.owner
    receipt = owner.sender.send(registry.address, registry.create_dataset(account, "of a contract", b"x", ZERO_BYTES32))
    (created,) = find(receipt.logs, AssetTransfer, registry.address)
    challenge = recipes.web3_challenge(created.asset, "value")

    def push(wallet: Wallet, suffix: str = "") -> int:
        signature = recipes.sign(challenge, wallet) + suffix
        return service.send("POST", "/secrets/web3", signature, "value", secretAddress=created.asset).status_code

    assert push(OTHER) == 401
    assert push(owner.wallet) == 401
    assert push(CONTROLLER, "00") == 204
    assert push(CONTROLLER) == 409


def test_a_contract_as_requester(account: Address, service: Service) -> None:
    challenge = recipes.requester_challenge(account, "key", "value")
    path = f"/requesters/{account}/secrets/key"
    assert service.send("POST", path, recipes.sign(challenge, OTHER), "value").status_code == 401
    assert service.send("POST", path, recipes.sign(challenge, CONTROLLER), "value").status_code == 204
    assert service.send("HEAD", path).status_code == 204


def test_a_contracts_write_cannot_be_replayed_in_a_variation(account: Address, service: Service) -> None:
    query = {"ownerAddress": account, "secretName": "token"}

    def signed(value: str) -> str:
        return recipes.sign(recipes.web2_challenge(account, "token", value), CONTROLLER)

    assert service.send("POST", "/secrets/web2", signed("old"), "old", **query).status_code == 204
    assert service.send("PUT", "/secrets/web2", signed("new"), "new", **query).status_code == 204
    # anybody can append to such a signature, and the contract would still accept it
    for suffix in ("", "00", "ff" * 40):
        assert service.send("PUT", "/secrets/web2", signed("old") + suffix, "old", **query).status_code == 401


def test_a_contract_that_owns_a_workerpool(chain: Chain, market: Market, account: Address, service: Service) -> None:
    deal, task = _deal_with_pool_of(market, account)
    assert deal
    asked = recipes.authorization_challenge("", task, "")
    assert service.send("POST", f"/tee/challenges/{task}", recipes.sign(asked, OTHER)).status_code == 401
    given = service.send("POST", f"/tee/challenges/{task}", recipes.sign(asked, CONTROLLER))
    assert given.status_code == 200
    worker = market.worker.wallet
    token = recipes.web2_challenge(worker.address, IPFS_TOKEN, "jwt")
    query = {"ownerAddress": worker.address, "secretName": IPFS_TOKEN}
    assert service.send("POST", "/secrets/web2", recipes.sign(token, worker), "jwt", **query).status_code == 204
    for pool, status in ((OTHER, 401), (CONTROLLER, 200)):
        made = authorization(given.text, worker=worker, pool=pool, task_id=task)
        signature = recipes.sign(recipes.authorization_challenge(worker.address, task, given.text), worker)
        answer = service.http.post(
            "/tee/sessions", headers={"Authorization": signature}, json=made.model_dump(by_alias=True)
        )
        assert answer.status_code == status, answer.text
    assert chain.rpc.chain_id() == chain.deployment.chain_id


def _deal_with_pool_of(market: Market, account: Address) -> tuple[Bytes32, Bytes32]:
    chain, registry = market.chain, market.registries.workerpool
    helper = actor(chain)
    receipt = helper.sender.send(registry.address, registry.create_workerpool(account, "of a contract"))
    (created,) = find(receipt.logs, AssetTransfer, registry.address)
    helper.sender.send(market.hub.address, market.hub.deposit_for(account), 1_000_000 * GWEI)
    apps, developer = market.registries.app, market.developer
    call = apps.create_app(developer.address, "enclave", "DOCKER", b"registry/app:1", ZERO_BYTES32, MRENCLAVE.encode())
    (app,) = find(developer.sender.send(apps.address, call).logs, AssetTransfer, apps.address)
    speaker = Actor(CONTROLLER, helper.sender)  # signs the pool's orders; the hub asks the contract, too
    staged = replace(market, app=app.asset, pool=created.asset, pool_owner=speaker)
    deal = staged.match(tags.encode(["tee", "scone"])).deal_id
    helper.sender.send(market.hub.address, market.hub.initialize(deal, 0))
    assert word_bytes(deal)
    return deal, task_id(deal, 0)
