"""Where this service is stricter than the official one (protocol, sections 3.2, 10.3), where no other file shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.chain.lifecycle import Market, actor
from tests.conftest import Chain
from tests.sms.http.test_tee_api import ask_challenge, ask_session, push_token
from tests.sms.lying_node import lying_node
from tests.sms.support import POOL_OWNER, REQUESTER, WORKER, SimulatedChain, authorization, bought_task, running, wallet

from adyton.base.errors import UnavailableError
from adyton.base.types import Bytes32
from adyton.chain import tags
from adyton.chain.contracts import Hub
from adyton.chain.hashing import task_id
from adyton.chain.wallet import personal_digest
from adyton.sms.access import recipes
from adyton.sms.onchain.hub_view import HubView
from adyton.sms.wire import SessionFailure


def dying(name: str) -> SimulatedChain:
    chain = bought_task(dataset=True)

    def down(_key: str) -> None:
        raise UnavailableError("the node is down")

    setattr(chain, name, down)
    return chain


@pytest.mark.parametrize(
    ("read", "failure"),
    [
        ("task", SessionFailure.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED),
        ("deal", SessionFailure.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_DEAL_FAILED),
        ("app", SessionFailure.GET_TASK_DESCRIPTION_FAILED),
        ("dataset", SessionFailure.GET_TASK_DESCRIPTION_FAILED),
    ],
)
def test_a_node_that_stops_answering_in_between(tmp_path: Path, read: str, failure: SessionFailure) -> None:
    with running(tmp_path, dying(read)) as service:
        answer = ask_session(service, authorization("0x" + "ee" * 20))
        assert (answer.status_code, answer.json()) == (failure.status, {"error": failure.value})


def test_wrong_pool_signatures_are_limited_like_all_others(tmp_path: Path) -> None:
    chain = bought_task()
    with running(tmp_path, chain) as service:
        statuses = []
        for number in range(6):
            chain.change_deal(workerpool_owner=wallet(900 + number).address)  # another pool each time
            statuses.append(ask_challenge(service, REQUESTER).status_code)
        assert statuses == [401] * 4 + [429] * 2
        chain.change_deal(workerpool_owner=wallet(999).address)
        answer = ask_session(service, authorization("0x" + "ee" * 20, pool=REQUESTER))
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        chain.change_deal(workerpool_owner=POOL_OWNER.address)
        assert ask_challenge(service).status_code == 200


def test_malformed_pool_signatures_cost_no_call(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        given = authorization("0x" + "ee" * 20)
        for value in ("", "0x", "0x" + "00" * 65, "zz"):
            bad = given.model_copy(update={"signature": given.signature.model_copy(update={"value": value})})
            answer = ask_session(service, bad)
            assert answer.json() == {"error": "EXECUTION_NOT_AUTHORIZED_INVALID_SIGNATURE"}
        assert service.chain.calls == 0


def test_a_session_of_bulk_whose_list_cannot_be_had_is_refused(tmp_path: Path) -> None:
    with running(tmp_path, bought_task('{"bulk_cid":"QmList"}')) as service:
        push_token(service)
        given = authorization(ask_challenge(service).text)
        for files in ({}, {"QmList": b"[]"}, {"QmList": b'["QmSlice"]', "QmSlice": b"[]"}):
            service.files.files = files
            answer = ask_session(service, given)
            assert (answer.status_code, answer.json()) == (500, {"error": "SECURE_SESSION_GENERATION_FAILED"})
        assert service.store.documents == []


def test_a_lying_node_is_found_out_by_its_witness(chain: Chain, tmp_path: Path) -> None:
    market, thief = Market.open(chain), wallet(4242)
    deal = market.match(tags.encode(["tee", "scone"])).deal_id
    market.pool_owner.sender.send(market.hub.address, market.hub.initialize(deal, 0))
    task = task_id(deal, 0)
    deployment = chain.deployment
    settings: dict[str, Any] = {"hub": deployment.hub, "chain_id": deployment.chain_id, "block_time_s": 0.1}

    def asked(folder: Path, *urls: str) -> int:
        folder.mkdir()
        node, *witnesses = urls
        with running(folder, real_chain=True, node_url=node, witness_node_urls=tuple(witnesses), **settings) as service:
            signature = recipes.sign(recipes.authorization_challenge("", task, ""), thief)
            return service.send("POST", f"/tee/challenges/{task}", signature).status_code

    with lying_node(chain.url, market.pool_owner.address, thief.address) as liar:
        assert asked(tmp_path / "alone", liar) == 200  # what a forged node can do, and why there are witnesses
        assert asked(tmp_path / "seen", liar, chain.url) == 401
        assert asked(tmp_path / "seeing", chain.url, liar) == 401


# -- hostile contract accounts ------------------------------------------------------------------------------------

HOSTILE = {
    "reverts": "60006000fd",
    "burns all gas": "5b600056",
    "answers nothing": "00",
    "answers too little": "60006001f3",
    "answers the magic value's other end": "631626ba7e60005260206000f3",
    "answers true": "600160005260206000f3",
}


@pytest.mark.parametrize("code", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_contracts_accept_nothing_and_break_nothing(chain: Chain, tmp_path: Path, code: str) -> None:
    runtime = bytes.fromhex(code)
    creation = bytes.fromhex(f"60{len(runtime):02x}80600b6000396000f3") + runtime
    contract = actor(chain).sender.send(None, creation).contract_address
    assert contract is not None
    seen = HubView(Hub(chain.rpc, chain.deployment.hub), chain.deployment.chain_id)
    digest = personal_digest(bytes(32))
    assert not seen.accepts_signature(contract, digest, WORKER.sign_digest(digest))
    deployment = chain.deployment
    settings: dict[str, Any] = {"node_url": chain.url, "hub": deployment.hub, "chain_id": deployment.chain_id}
    with running(tmp_path, real_chain=True, **settings) as service:
        signature = recipes.sign(recipes.requester_challenge(contract, "k", "v"), WORKER)
        assert service.send("POST", f"/requesters/{contract}/secrets/k", signature, "v").status_code == 401


def test_blocks_by_number(chain: Chain) -> None:
    seen = HubView(Hub(chain.rpc, chain.deployment.hub), chain.deployment.chain_id)
    head = chain.rpc.head()
    assert seen.block_hash(head.number) == head.hash
    assert seen.block_hash(head.number + 1_000_000) is None
    assert head.hash != Bytes32("0x" + "00" * 32)
