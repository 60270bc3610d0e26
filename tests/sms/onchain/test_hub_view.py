"""The service on a real chain: contracts, deals and owners as the hub has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.chain.lifecycle import Market
from tests.conftest import Chain
from tests.sms.support import MRENCLAVE, Service, authorization, running

from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.base.types import ZERO_ADDRESS, Address, Bytes32, parse_bytes32
from adyton.chain import multiaddr, tags
from adyton.chain.contracts import AssetKind, Hub, TaskStatus
from adyton.chain.hashing import task_id
from adyton.chain.rpc import Rpc
from adyton.sms.client import SmsClient
from adyton.sms.errors import ChallengeRefusedError, NotAllowedError, SessionRefusedError
from adyton.sms.onchain.hub_view import HubView
from adyton.sms.wire import IPFS_TOKEN, SessionFailure

IPFS_PATH = "/ipfs/QmRA3NXM82ZGynMbYzAgYTSXCVM14Wx1RZ8fKP42G6gjgj"
CHECKSUM = parse_bytes32("0x" + "da" * 32)


@pytest.fixture(scope="module")
def market(chain: Chain) -> Market:
    """A market place whose app is an enclave and whose dataset is on IPFS."""
    opened = Market.open(chain)
    apps, datasets = opened.registries.app, opened.registries.dataset
    developer, owner = opened.developer, opened.owner
    app = (developer.address, "enclave", "DOCKER", b"registry/app:1", CHECKSUM, MRENCLAVE.encode())
    dataset = (owner.address, "data", multiaddr.to_bytes(IPFS_PATH), CHECKSUM)
    app_address, dataset_address = apps.predict_app(*app), datasets.predict_dataset(*dataset)
    developer.sender.send(apps.address, apps.create_app(*app))
    owner.sender.send(datasets.address, datasets.create_dataset(*dataset))
    return replace(opened, app=app_address, dataset=dataset_address)


def view(chain: Chain) -> HubView:
    return HubView(Hub(chain.rpc, chain.deployment.hub), chain.deployment.chain_id)


def buy(market: Market, names: tuple[str, ...] = ("tee", "scone")) -> tuple[Bytes32, Bytes32]:
    """A deal with a dataset and its first task, initialized."""
    deal = market.match(tags.encode(names), with_dataset=True).deal_id
    market.pool_owner.sender.send(market.hub.address, market.hub.initialize(deal, 0))
    return deal, task_id(deal, 0)


def test_facts(chain: Chain, market: Market) -> None:
    deal_id, task = buy(market)
    seen = view(chain)
    facts = seen.task(task)
    assert facts is not None
    assert (facts.status, facts.deal_id, facts.index) == (TaskStatus.ACTIVE, deal_id, 0)
    assert facts.final_deadline > seen.head().timestamp
    deal = seen.deal(deal_id)
    assert deal is not None
    assert (deal.app, deal.dataset, deal.callback) == (market.app, market.dataset, ZERO_ADDRESS)
    assert deal.workerpool_owner == market.pool_owner.address
    assert deal.beneficiary == deal.requester == market.requester.address
    assert deal.start_time > 0
    app, dataset = seen.app(market.app), seen.dataset(market.dataset)
    assert app is not None
    assert dataset is not None
    assert (app.multiaddr, app.checksum, app.mrenclave) == ("registry/app:1", CHECKSUM, MRENCLAVE)
    assert (dataset.uri, dataset.checksum) == (IPFS_PATH, CHECKSUM)
    assert seen.owner(market.app) == market.developer.address


def test_registries(chain: Chain, market: Market) -> None:
    seen = view(chain)
    assert seen.asset_kind(market.app) is AssetKind.APP
    assert seen.asset_kind(market.dataset) is AssetKind.DATASET
    assert seen.asset_kind(market.pool) is AssetKind.WORKERPOOL
    assert seen.asset_kind(chain.deployment.hub) is None  # has an owner(), but is nobody's asset
    assert seen.owner(chain.deployment.hub) is not None


def test_what_is_not_there(chain: Chain, market: Market) -> None:
    seen, nothing, word = view(chain), market.worker.address, Bytes32("0x" + "99" * 32)
    assert seen.task(word) is None
    assert seen.deal(word) is None
    assert seen.app(nothing) is None
    assert seen.dataset(nothing) is None
    assert seen.owner(nothing) is None


def test_another_chain_is_not_believed(chain: Chain) -> None:
    with pytest.raises(UnavailableError) as caught:
        HubView(Hub(chain.rpc, chain.deployment.hub), 1).head()
    assert caught.value.code == "sms.chain.other"


def test_a_node_that_is_not_there() -> None:
    rpc = Rpc("http://127.0.0.1:1", timeout_s=1)
    seen = HubView(Hub(rpc, Address("0x" + "11" * 20)), 134)
    with pytest.raises(UnavailableError):
        seen.head()
    with pytest.raises(UnavailableError):
        seen.owner(Address("0x" + "11" * 20))
    rpc.close()


def test_a_bought_task_gets_its_session(chain: Chain, market: Market, tmp_path: Path) -> None:
    deal_id, task = buy(market)
    chain.rpc.call("evm_mine")  # instant blocks: without a transaction the head grows old
    with _service(chain, tmp_path) as service:
        client = SmsClient(service.url)
        client.push_web3(market.dataset, Secret("dataset key"), market.owner.wallet)
        client.push_app(market.app, Secret("app secret"), market.developer.wallet)
        client.push_web2(IPFS_TOKEN, Secret("jwt"), market.worker.wallet)
        challenge = client.challenge(task, market.pool_owner.wallet)
        given = authorization(challenge, worker=market.worker.wallet, pool=market.pool_owner.wallet, task_id=task)
        assert client.session(given, market.worker.wallet).session_id.endswith(task)
        (document,) = service.store.documents
        pre, app, _post = document["services"]
        assert pre["environment"]["IEXEC_DATASET_KEY"] == "dataset key"
        assert pre["environment"]["IEXEC_DATASET_URL"] == IPFS_PATH
        assert app["environment"]["IEXEC_APP_DEVELOPER_SECRET"] == "app secret"
        assert app["command"] == "python3 /app/app.py é"
        assert app["environment"]["IEXEC_DEAL_ID"] == deal_id
        client.close()


def test_who_may_not(chain: Chain, market: Market, tmp_path: Path) -> None:
    _, task = buy(market)
    _, standard = buy(market, ())
    with _service(chain, tmp_path) as service:
        client = SmsClient(service.url)
        with pytest.raises(NotAllowedError):
            client.push_web3(market.dataset, Secret("v"), market.requester.wallet)
        with pytest.raises(NotAllowedError):
            client.push_web3(chain.deployment.hub, Secret("v"), chain.admin)
        with pytest.raises(ChallengeRefusedError):
            client.challenge(task, market.requester.wallet)
        with pytest.raises(ChallengeRefusedError):
            client.challenge(standard, market.pool_owner.wallet)
        challenge = client.challenge(task, market.pool_owner.wallet)
        forged = authorization(challenge, worker=market.worker.wallet, pool=market.requester.wallet, task_id=task)
        with pytest.raises(SessionRefusedError) as caught:
            client.session(forged, market.worker.wallet)
        assert caught.value.failure is SessionFailure.EXECUTION_NOT_AUTHORIZED_INVALID_SIGNATURE
        client.close()


def _service(chain: Chain, folder: Path) -> AbstractContextManager[Service]:
    deployment = chain.deployment
    return running(folder, real_chain=True, node_url=chain.url, hub=deployment.hub, chain_id=deployment.chain_id)


class CountingRpc(Rpc):
    """A node whose reads are counted."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.reads = 0

    def batch(self, calls: Iterable[tuple[str, Sequence[Any]]]) -> list[Any]:
        self.reads += 1
        return super().batch(calls)


def test_what_cannot_change_is_asked_once(chain: Chain, market: Market) -> None:
    node = CountingRpc(chain.url)
    seen = HubView(Hub(node, chain.deployment.hub), chain.deployment.chain_id)
    first = (seen.app(market.app), seen.dataset(market.dataset))
    asked = node.reads
    assert (seen.app(market.app), seen.dataset(market.dataset)) == first
    assert node.reads == asked
    assert seen.dataset(market.app) is None  # what an app says is not taken for a dataset's
    assert seen.app(market.dataset) is None
    node.close()


def test_what_no_registry_made_is_asked_each_time(chain: Chain, market: Market) -> None:
    node = CountingRpc(chain.url)
    seen = HubView(Hub(node, chain.deployment.hub), chain.deployment.chain_id)
    for _ in range(2):
        before = node.reads
        assert seen.app(market.requester.address) is None
        assert node.reads > before
    node.close()
