"""Checks 4 and 7 to 18 of protocol section 3.1 against the real contracts, each with the error that it must give.

What honest contracts cannot answer, as a deal that cannot be read, a node in between answers. Their order is shown by
requests that are wrong in every later way at once, too.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.chain.lifecycle import Market
from tests.conftest import Chain
from tests.sms.meddling_node import Meddle, breaks, meddling_node, reverts, words
from tests.sms.support import APP_FINGERPRINT, MRENCLAVE, running
from tests.sms.test_checks_on_chain import SCONE, Stage, contribute

from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, Address, Bytes32
from adyton.chain import calldata, tags
from adyton.chain.abi import Function
from adyton.chain.events import AssetTransfer, OrdersMatched, find
from adyton.chain.hashing import task_id
from adyton.chain.orders import sign_order
from adyton.chain.wallet import Wallet
from adyton.sms.access import recipes
from adyton.sms.wire import DROPBOX_TOKEN, IPFS_TOKEN, RESULT_ENCRYPTION_KEY, SessionFailure, WorkerpoolAuthorization

F = SessionFailure
CALLBACK = Address("0x5555555555555555555555555555555555555555")
START_TIME = 17  # word of viewDeal's answer, behind the offset of its tuple
ENCRYPTED = '{"iexec_result_encryption":true}'


@pytest.fixture(scope="module")
def market(chain: Chain) -> Market:
    return Market.open(chain)


@dataclass(frozen=True)
class Shop(Stage):
    """A stage whose deals can be of any kind."""

    def app(self, mrenclave: str) -> Address:
        """A new app that describes its enclave so."""
        apps, developer = self.market.registries.app, self.market.developer
        call = apps.create_app(
            developer.address, secrets.token_hex(8), "DOCKER", b"r/app:1", ZERO_BYTES32, mrenclave.encode()
        )
        (created,) = find(developer.sender.send(apps.address, call).logs, AssetTransfer, apps.address)
        return created.asset

    def dataset_without_place(self) -> Address:
        """A new dataset that does not say where its bytes are."""
        datasets, owner = self.market.registries.dataset, self.market.owner
        call = datasets.create_dataset(owner.address, secrets.token_hex(8), b"", ZERO_BYTES32)
        (created,) = find(owner.sender.send(datasets.address, call).logs, AssetTransfer, datasets.address)
        return created.asset

    def buy(
        self,
        params: str = "{}",
        *,
        mrenclave: str = MRENCLAVE,
        dataset: bool | Address = False,
        callback: Address = ZERO_ADDRESS,
        names: tuple[str, ...] = SCONE,
    ) -> Bytes32:
        """A task that was initialized."""
        market = replace(self.market, app=self.app(mrenclave))
        if isinstance(dataset, str):
            market = replace(market, dataset=dataset)
        *others, request = market.orders(tags.encode(names), with_dataset=bool(dataset))
        request = sign_order(
            replace(request, params=params, callback=callback), market.requester.wallet, market.hub.domain()
        )
        receipt = market.requester.sender.send(market.hub.address, market.hub.match_orders(*others, request))
        (matched,) = find(receipt.logs, OrdersMatched, market.hub.address)
        market.pool_owner.sender.send(market.hub.address, market.hub.initialize(matched.deal_id, 0))
        return task_id(matched.deal_id, 0)

    def ready(self, *words_: Any, **named: Any) -> WorkerpoolAuthorization:  # noqa: ANN401  # those of buy
        """The authorization for a task whose challenge was made."""
        task = self.buy(*words_, **named)
        status, challenge = self.challenge(task)
        assert status == 200
        return self.authorize(task, challenge)

    def push_web2(self, owner: Wallet, name: str, value: str) -> None:
        signature = recipes.sign(recipes.web2_challenge(owner.address, name, value), owner)
        query = {"ownerAddress": owner.address, "secretName": name}
        assert self.service.send("POST", "/secrets/web2", signature, value, **query).status_code == 204

    def push_token(self) -> None:
        self.push_web2(self.market.worker.wallet, IPFS_TOKEN, "jwt")

    def push_dataset_key(self) -> None:
        dataset, owner = self.market.dataset, self.market.owner.wallet
        signature = recipes.sign(recipes.web3_challenge(dataset, "key"), owner)
        assert self.service.send("POST", "/secrets/web3", signature, "key", secretAddress=dataset).status_code == 204

    def expect(self, given: WorkerpoolAuthorization, failure: SessionFailure) -> None:
        status, answer = self.session(given)
        assert answer == {"error": failure.value}
        assert status == failure.status


@contextmanager
def opened(chain: Chain, market: Market, folder: Path, **changes: Any) -> Iterator[Shop]:  # noqa: ANN401  # any settings
    chain.rpc.call("evm_mine")  # instant blocks: without a transaction the head grows old
    deployment = chain.deployment
    settings = {"node_url": chain.url, "hub": deployment.hub, "chain_id": deployment.chain_id, "block_time_s": 0.3}
    with running(folder, real_chain=True, **settings | changes) as service:
        yield Shop(market, service)


@pytest.fixture
def shop(chain: Chain, market: Market, tmp_path: Path) -> Iterator[Shop]:
    with opened(chain, market, tmp_path, witness_node_urls=(chain.url,)) as made:
        yield made


# 4 and 7: what cannot be read

UNREADABLE: dict[str, tuple[Function, Meddle, SessionFailure]] = {
    "2 the task": (calldata.VIEW_TASK, breaks, F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED),
    "2 the hub refuses": (calldata.VIEW_TASK, reverts, F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED),
    "2 it names no registry": (calldata.APP_REGISTRY, reverts, F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED),
    "4 the deal": (calldata.VIEW_DEAL, breaks, F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_DEAL_FAILED),
    "4 the hub refuses": (calldata.VIEW_DEAL, reverts, F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_DEAL_FAILED),
    "4 no such deal": (
        calldata.VIEW_DEAL,
        words({1: 0}),  # the app's address: how the hub shows a deal that is none
        F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_DEAL_FAILED,
    ),
    "4 not started": (
        calldata.VIEW_DEAL,
        words({START_TIME: 0}),
        F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_DEAL_FAILED,
    ),
    "4 its category": (calldata.VIEW_CATEGORY, reverts, F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_DEAL_FAILED),
    "4 its category's node": (calldata.VIEW_CATEGORY, breaks, F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_DEAL_FAILED),
    "7 the app": (calldata.APP_MRENCLAVE, breaks, F.GET_TASK_DESCRIPTION_FAILED),
    "7 no app": (calldata.APP_MRENCLAVE, reverts, F.GET_TASK_DESCRIPTION_FAILED),
    "7 the dataset": (calldata.DATASET_MULTIADDR, breaks, F.GET_TASK_DESCRIPTION_FAILED),
    "7 no dataset": (calldata.DATASET_MULTIADDR, reverts, F.GET_TASK_DESCRIPTION_FAILED),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read(chain: Chain, market: Market, tmp_path: Path, name: str) -> None:
    function, meddle, failure = UNREADABLE[name]
    with (
        meddling_node(chain.url, function, meddle) as node,
        opened(chain, market, tmp_path, node_url=node) as shop,
    ):
        task = shop.buy(dataset=True)
        shop.expect(shop.authorize(task), failure)
        # the challenge needs checks 1 to 6 only
        assert shop.challenge(task)[0] == (401 if failure.status == 401 else 200)


# 8, 9 and 14: what the app says of its enclave

DESCRIPTIONS: dict[str, tuple[str, SessionFailure]] = {
    "8 nothing": ("", F.APP_COMPUTE_NO_ENCLAVE_CONFIG),
    "8 no JSON": ("fspf|tag|mrenclave|entrypoint", F.APP_COMPUTE_NO_ENCLAVE_CONFIG),
    "8 a member more": (MRENCLAVE[:-1] + ',"extra":1}', F.APP_COMPUTE_NO_ENCLAVE_CONFIG),
    "8 an unknown framework": (MRENCLAVE.replace('"SCONE"', '"SEV"'), F.APP_COMPUTE_NO_ENCLAVE_CONFIG),
    "9 another version": (MRENCLAVE.replace('"v1"', '"v9"'), F.APP_COMPUTE_INVALID_ENCLAVE_CONFIG),
    "9 no version": (MRENCLAVE.replace('"version":"v1",', ""), F.APP_COMPUTE_INVALID_ENCLAVE_CONFIG),
    "14 31 bytes": (MRENCLAVE.replace(APP_FINGERPRINT, APP_FINGERPRINT[2:]), F.APP_COMPUTE_INVALID_ENCLAVE_CONFIG),
    "14 no hex": (MRENCLAVE.replace(APP_FINGERPRINT, "zz" * 32), F.APP_COMPUTE_INVALID_ENCLAVE_CONFIG),
    "14 no entrypoint": (MRENCLAVE.replace("python3 /app/app.py", ""), F.APP_COMPUTE_INVALID_ENCLAVE_CONFIG),
    "14 no heap": (MRENCLAVE.replace("1073741824", "0"), F.APP_COMPUTE_INVALID_ENCLAVE_CONFIG),
    "14 another framework": (MRENCLAVE.replace("SCONE", "GRAMINE"), F.APP_COMPUTE_INVALID_ENCLAVE_CONFIG),
}


@pytest.mark.parametrize(("mrenclave", "failure"), DESCRIPTIONS.values(), ids=DESCRIPTIONS.keys())
def test_what_the_app_says_of_its_enclave(shop: Shop, mrenclave: str, failure: SessionFailure) -> None:
    shop.push_token()
    shop.expect(shop.ready(mrenclave=mrenclave), failure)


# 12, 13, 15 to 18: challenge, secrets, storing

Case = Callable[[Shop], WorkerpoolAuthorization]


def _damaged(shop: Shop) -> WorkerpoolAuthorization:
    given = shop.ready()
    db = sqlite3.connect(shop.service.settings.database)
    assert db.execute("update tee_challenge set private_key = x'00'").rowcount == 1
    db.commit()
    db.close()
    return given


def _store_refuses(shop: Shop) -> WorkerpoolAuthorization:
    shop.push_token()
    shop.service.store.refuses = True
    return shop.ready()


def _too_often(shop: Shop) -> WorkerpoolAuthorization:
    shop.push_token()
    given = shop.ready()
    for _ in range(shop.service.settings.max_sessions_per_task):
        assert shop.session(given)[0] == 200
    return given


CASES: dict[str, tuple[Case, SessionFailure]] = {
    "12 no challenge in the request": (
        lambda s: s.authorize(s.buy(), ""),
        F.GET_SIGNATURE_TOKENS_FAILED_EMPTY_PUBLIC_ENCLAVE_CHALLENGE,
    ),
    "12 none was made": (lambda s: s.authorize(s.buy()), F.GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CHALLENGE),
    "12 its key is damaged": (_damaged, F.GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CREDENTIALS),
    "13 no key of the dataset": (lambda s: s.ready(dataset=True), F.PRE_COMPUTE_GET_DATASET_SECRET_FAILED),
    "15 no key of the beneficiary": (
        lambda s: s.ready(ENCRYPTED),
        F.POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY,
    ),
    "15 nor for a callback": (
        lambda s: s.ready(ENCRYPTED, callback=CALLBACK),
        F.POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY,
    ),
    "16 no token": (lambda s: s.ready(), F.POST_COMPUTE_GET_STORAGE_TOKENS_FAILED),
    "16 no token of dropbox": (
        lambda s: (s.push_token(), s.ready('{"iexec_result_storage_provider":"dropbox"}'))[1],
        F.POST_COMPUTE_GET_STORAGE_TOKENS_FAILED,
    ),
    "17 the CAS refuses": (_store_refuses, F.SECURE_SESSION_STORAGE_CALL_FAILED),
    "18 too many sessions of a task": (_too_often, F.SECURE_SESSION_GENERATION_FAILED),
    "18 a wish that would be lost": (
        lambda s: s.ready('{"iexec_result_encryption":true,"unknown":1}'),
        F.SECURE_SESSION_GENERATION_FAILED,
    ),
}


@pytest.mark.parametrize(("case", "failure"), CASES.values(), ids=CASES.keys())
def test_who_gets_no_session(shop: Shop, case: Case, failure: SessionFailure) -> None:
    given = case(shop)
    stored = len(shop.service.store.documents)
    shop.expect(given, failure)
    assert len(shop.service.store.documents) == stored


def test_18_no_attestation_server_answers(chain: Chain, market: Market, tmp_path: Path) -> None:
    none = {"attestation_mode": "maa", "attestation_urls": ("https://127.0.0.1:1",)}
    with opened(chain, market, tmp_path, **none) as shop:
        shop.push_token()
        shop.expect(shop.ready(), F.SECURE_SESSION_GENERATION_FAILED)


def test_a_damaged_challenge_is_not_given_out(shop: Shop) -> None:
    assert shop.challenge(Bytes32(_damaged(shop).chain_task_id)) == (404, "")


# who gets one


def _dropbox(shop: Shop) -> WorkerpoolAuthorization:
    shop.push_web2(shop.market.requester.wallet, DROPBOX_TOKEN, "token")
    return shop.ready('{"iexec_result_storage_provider":"dropbox"}')


def _requester_token(shop: Shop) -> WorkerpoolAuthorization:
    shop.push_web2(shop.market.requester.wallet, IPFS_TOKEN, "token")
    return shop.ready()


def _everything(shop: Shop) -> WorkerpoolAuthorization:
    shop.push_token()
    shop.push_dataset_key()
    shop.push_web2(shop.market.requester.wallet, RESULT_ENCRYPTION_KEY, "LS0tLS1CRUdJTg==")
    return shop.ready(ENCRYPTED, dataset=True)


SERVED: dict[str, tuple[Case, list[str]]] = {
    "a callback needs no token": (lambda s: s.ready(callback=CALLBACK), ["app", "post-compute"]),
    "dropbox": (_dropbox, ["app", "post-compute"]),
    "the requester's token": (_requester_token, ["app", "post-compute"]),
    "dataset and encryption": (_everything, ["pre-compute", "app", "post-compute"]),
    "a fingerprint with 0x": (
        lambda s: (s.push_token(), s.ready(mrenclave=MRENCLAVE.replace(APP_FINGERPRINT, "0x" + APP_FINGERPRINT)))[1],
        ["app", "post-compute"],
    ),
}


def test_a_dataset_that_is_nowhere_needs_no_key_and_no_pre_compute(shop: Shop) -> None:
    shop.push_token()
    status, answer = shop.session(shop.ready(dataset=shop.dataset_without_place()))
    assert status == 200, answer
    (document,) = shop.service.store.documents
    assert [service["name"] for service in document["services"]] == ["app", "post-compute"]


def test_the_second_task_of_a_deal(shop: Shop) -> None:
    market = replace(shop.market, app=shop.app(MRENCLAVE))
    deal = market.match(tags.encode(SCONE), 2).deal_id
    market.pool_owner.sender.send(market.hub.address, market.hub.initialize(deal, 1))
    task = task_id(deal, 1)
    shop.push_token()
    assert shop.session(shop.authorize(task, shop.challenge(task)[1]))[0] == 200
    environment = shop.service.store.documents[0]["services"][0]["environment"]
    found = {name: value for name, value in environment.items() if "TASK" in name or "BOT" in name or "DEAL" in name}
    assert found == {
        "IEXEC_DEAL_ID": deal,
        "IEXEC_TASK_ID": task,
        "IEXEC_TASK_INDEX": "1",
        "IEXEC_BOT_SIZE": "2",
        "IEXEC_BOT_FIRST_INDEX": "0",
        "IEXEC_BOT_TASK_INDEX": "1",
    }


def test_the_case_of_a_task_id_does_not_matter(shop: Shop) -> None:
    shop.push_token()
    task = shop.buy()
    loud = Bytes32("0x" + task[2:].upper())
    status, challenge = shop.challenge(loud)
    assert (status, challenge) == shop.challenge(task)
    status, answer = shop.session(shop.authorize(loud, challenge.upper().replace("X", "x", 1)))
    assert status == 200, answer
    assert answer["data"]["sessionId"].endswith("0000" + task)  # type: ignore[index]  # an object


@pytest.mark.parametrize(("case", "services"), SERVED.values(), ids=SERVED.keys())
def test_who_gets_one(shop: Shop, case: Case, services: list[str]) -> None:
    status, answer = shop.session(case(shop))
    assert status == 200, answer
    (document,) = shop.service.store.documents
    assert [service["name"] for service in document["services"]] == services
    assert answer["data"]["sessionId"] == document["name"]  # type: ignore[index]  # an object


# the order


def test_the_order_from_8_to_17(shop: Shop) -> None:
    """Everything that comes later is wrong, too; each step repairs what was named."""
    shop.service.store.refuses = True
    bought = {"dataset": True, "params": ENCRYPTED}
    bad = MRENCLAVE.replace(APP_FINGERPRINT, "zz" * 32)
    shop.expect(shop.authorize(shop.buy(mrenclave="{}", **bought)), F.APP_COMPUTE_NO_ENCLAVE_CONFIG)  # 8
    other_version = bad.replace('"v1"', '"v9"')
    shop.expect(shop.authorize(shop.buy(mrenclave=other_version, **bought)), F.APP_COMPUTE_INVALID_ENCLAVE_CONFIG)  # 9
    task = shop.buy(mrenclave=bad, **bought)
    shop.expect(shop.authorize(task), F.GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CHALLENGE)  # 12
    given = shop.authorize(task, shop.challenge(task)[1])
    shop.expect(given, F.PRE_COMPUTE_GET_DATASET_SECRET_FAILED)  # 13
    shop.push_dataset_key()
    shop.expect(given, F.APP_COMPUTE_INVALID_ENCLAVE_CONFIG)  # 14
    given = shop.ready(**bought)
    shop.expect(given, F.POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY)  # 15
    shop.push_web2(shop.market.requester.wallet, RESULT_ENCRYPTION_KEY, "LS0tLS1CRUdJTg==")
    shop.expect(given, F.POST_COMPUTE_GET_STORAGE_TOKENS_FAILED)  # 16
    shop.push_token()
    shop.expect(given, F.SECURE_SESSION_STORAGE_CALL_FAILED)  # 17
    shop.service.store.refuses = False
    assert shop.session(given)[0] == 200


def test_the_order_from_0_to_7(chain: Chain, market: Market, tmp_path: Path) -> None:
    """As above; a task that is not active cannot become it again, so each step has its own."""
    wrong_pool = replace(market, pool_owner=market.requester)
    with opened(chain, market, tmp_path) as shop:
        stranger = Shop(wrong_pool, shop.service)
        nothing = stranger.authorize(Bytes32("0x" + "77" * 32))
        status, answer = shop.session(nothing, Wallet.create())
        assert (status, answer) == (401, {"error": F.INVALID_AUTHORIZATION.value})  # 0
        shop.expect(nothing, F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED)  # 2
        task = shop.buy(names=("tee", "gramine"))
        given = stranger.authorize(task)
        shop.expect(given, F.EXECUTION_NOT_AUTHORIZED_NO_MATCH_ONCHAIN_TYPE)  # 5
        contribute(market, task)
        shop.expect(given, F.EXECUTION_NOT_AUTHORIZED_TASK_NOT_ACTIVE)  # 3
        shop.expect(stranger.authorize(shop.buy()), F.EXECUTION_NOT_AUTHORIZED_INVALID_SIGNATURE)  # 6
    with (
        meddling_node(chain.url, calldata.VIEW_DEAL, reverts) as node,
        opened(chain, market, tmp_path, node_url=node) as shop,
    ):
        stranger = Shop(wrong_pool, shop.service)
        given = stranger.authorize(shop.buy(names=("tee", "gramine")))
        shop.expect(given, F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_DEAL_FAILED)  # 4
