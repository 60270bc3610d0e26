"""Bulk tasks (protocol, section 5.2): lists from IPFS, rules for each dataset order, what the session then holds."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sms.opening.test_session_maker import STORED, description, maker, request
from tests.sms.support import APP, DATASET, REQUESTER, TASK_ID, WORKERPOOL, SimulatedChain, SimulatedFiles, bought_task

from adyton.base.types import Address, parse_bytes32
from adyton.chain import tags
from adyton.chain.orders import INFINITE_VOLUME, DatasetOrder
from adyton.sms.errors import BulkError
from adyton.sms.onchain.view import DatasetFacts, DealFacts, OrderFacts
from adyton.sms.opening.bulk import MIN_VOLUME, incompatibility, judge_slice, read_slice
from adyton.sms.opening.task import TaskDescription, with_bulk
from adyton.sms.store.tables import SecretKey

OTHER = Address("0x7777777777777777777777777777777777777777")
GROUP = Address("0x8888888888888888888888888888888888888888")
LIST, SLICE = "QmList", "QmSlice"
PARAMS = json.dumps({"bulk_cid": LIST})
GOOD = DatasetOrder(dataset=DATASET, volume=INFINITE_VOLUME, sign="0x" + "11" * 65)


def files(*orders: DatasetOrder | dict[str, Any], slices: object = None) -> SimulatedFiles:
    made = SimulatedFiles()
    made.files[LIST] = json.dumps([SLICE] if slices is None else slices).encode()
    documents = [order.to_json() if isinstance(order, DatasetOrder) else order for order in orders]
    made.files[SLICE] = json.dumps(documents).encode()
    return made


def chain_with(*datasets: Address) -> SimulatedChain:
    chain = bought_task(PARAMS)
    for number, dataset in enumerate(datasets):
        chain.datasets[dataset] = DatasetFacts(f"/ipfs/Qm{number}", parse_bytes32(f"0x{number + 1:064x}"))
    return chain


def deal(chain: SimulatedChain) -> DealFacts:
    return next(iter(chain.deals.values()))


# -- the lists ----------------------------------------------------------------------------------------------------


def test_the_task_index_selects_the_slice() -> None:
    made = files(GOOD, slices=["QmOther", SLICE])
    made.files["QmOther"] = json.dumps([replace(GOOD, dataset=OTHER).to_json()]).encode()
    assert [order.dataset for order in read_slice(made, LIST, 0)] == [OTHER]
    assert [order.dataset for order in read_slice(made, LIST, 1)] == [DATASET]


ORDER = GOOD.to_json()
WRONG_LISTS: dict[str, tuple[SimulatedFiles, str]] = {
    "no list": (SimulatedFiles(), "sms.bulk.gateway"),
    "list is no array": (files(GOOD, slices={"0": SLICE}), "sms.bulk.format"),
    "fewer slices than tasks": (files(GOOD, slices=[]), "sms.bulk.index"),
    "slice is no text": (files(GOOD, slices=[7]), "sms.bulk.format"),
    "no slice": (files(GOOD, slices=["QmNone"]), "sms.bulk.gateway"),
    "empty slice": (files(), "sms.bulk.count"),
    "more than 100 datasets": (files(*[GOOD] * 101), "sms.bulk.count"),
    "an unknown key": (files(ORDER | {"colour": 1}), "sms.bulk.format"),
    "a missing key": (files({k: v for k, v in ORDER.items() if k != "salt"}), "sms.bulk.format"),
    "an order that is no object": (files(ORDER, "order"), "sms.bulk.format"),  # type: ignore[arg-type]  # wrong on purpose
    "an address that is none": (files(ORDER | {"dataset": "0x12"}), "sms.bulk.format"),
    "a volume that is none": (files(ORDER | {"volume": "many"}), "sms.bulk.format"),
}


@pytest.mark.parametrize(("made", "code"), WRONG_LISTS.values(), ids=WRONG_LISTS.keys())
def test_wrong_lists_are_refused(made: SimulatedFiles, code: str) -> None:
    with pytest.raises(BulkError) as caught:
        read_slice(made, LIST, 0)
    assert caught.value.code == code


@pytest.mark.parametrize("content", [b"", b"\xff", b"[", b"[" * 5000, b"null"])
def test_lists_that_are_no_json(content: bytes) -> None:
    made = files(GOOD)
    made.files[SLICE] = content
    with pytest.raises(BulkError):
        read_slice(made, LIST, 0)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_slice_or_refused(content: bytes) -> None:
    made = files(GOOD)
    made.files[SLICE] = content
    with pytest.raises(BulkError):
        read_slice(made, LIST, 0)


# -- the rules ----------------------------------------------------------------------------------------------------


def test_the_constant() -> None:
    assert MIN_VOLUME == 9007199254740990 == 2**53 - 2


FINE = OrderFacts(signed=True, consumed=0)
GPU = tags.encode(["gpu"])


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(GOOD, id="plain"),
        pytest.param(replace(GOOD, volume=MIN_VOLUME), id="least volume"),
        pytest.param(replace(GOOD, apprestrict=APP), id="for this app"),
        pytest.param(replace(GOOD, workerpoolrestrict=WORKERPOOL), id="for this pool"),
        pytest.param(replace(GOOD, requesterrestrict=REQUESTER.address), id="for this requester"),
        pytest.param(replace(GOOD, tag=tags.encode(["tee", "gramine"])), id="framework bits do not count"),
    ],
)
def test_orders_that_go_with_the_deal(order: DatasetOrder) -> None:
    assert incompatibility(order, deal(bought_task()), FINE) is None


def test_members_of_a_group_are_let_in() -> None:
    order = replace(GOOD, apprestrict=GROUP, workerpoolrestrict=GROUP, requesterrestrict=GROUP)
    members = frozenset({(GROUP, APP), (GROUP, WORKERPOOL), (GROUP, REQUESTER.address)})
    assert incompatibility(order, deal(bought_task()), OrderFacts(signed=True, consumed=0, members=members)) is None
    for missing in members:
        left = OrderFacts(signed=True, consumed=0, members=members - {missing})
        assert incompatibility(order, deal(bought_task()), left) is not None


@pytest.mark.parametrize(
    ("order", "facts", "reason"),
    [
        pytest.param(GOOD, OrderFacts(signed=True, consumed=INFINITE_VOLUME), "revoked", id="revoked"),
        pytest.param(GOOD, OrderFacts(signed=False, consumed=0), "not signed", id="signature"),
        pytest.param(replace(GOOD, apprestrict=OTHER), FINE, "another app", id="app"),
        pytest.param(replace(GOOD, workerpoolrestrict=OTHER), FINE, "another workerpool", id="pool"),
        pytest.param(replace(GOOD, requesterrestrict=OTHER), FINE, "another requester", id="requester"),
        pytest.param(replace(GOOD, tag=GPU), FINE, "tag", id="tag"),
        pytest.param(replace(GOOD, volume=MIN_VOLUME - 1), FINE, "volume", id="volume"),
    ],
)
def test_orders_that_do_not(order: DatasetOrder, facts: OrderFacts, reason: str) -> None:
    found = incompatibility(order, deal(bought_task()), facts)
    assert found is not None
    assert reason in found


def test_a_deal_with_a_dataset_takes_no_bulk() -> None:
    assert "dataset of its own" in (incompatibility(GOOD, deal(bought_task(dataset=True)), FINE) or "")


def test_a_slice_without_any_usable_dataset_is_refused() -> None:
    chain = chain_with(OTHER)
    orders = (replace(GOOD, volume=1), replace(GOOD, dataset=GROUP))
    with pytest.raises(BulkError) as caught:
        judge_slice(chain, orders, deal(chain))
    assert caught.value.code == "sms.bulk.refused"


# -- the session --------------------------------------------------------------------------------------------------

SECOND = OTHER
KEYS = STORED | {SecretKey.web3(DATASET): "first-key"}
MIXED = (GOOD, replace(GOOD, dataset=SECOND), replace(GOOD, dataset=GROUP, volume=1))


def bulk_task(*orders: DatasetOrder) -> TaskDescription:
    chain = chain_with(SECOND, GROUP)
    return with_bulk(chain, files(*orders), description(PARAMS))


def environments(task: TaskDescription) -> dict[str, dict[str, str]]:
    made = maker()
    document = made.document(made.plan(task), request(task, KEYS))
    return {service["name"]: service["environment"] for service in document["services"]}


def test_what_pre_compute_gets() -> None:
    found = environments(bulk_task(*MIXED))["pre-compute"]
    assert found["IEXEC_BULK_SLICE_SIZE"] == "3"
    assert found["IS_DATASET_REQUIRED"] == "false"
    slots = {
        number: tuple(found[f"IEXEC_DATASET_{number}_{name}"] for name in ("URL", "CHECKSUM", "KEY", "FILENAME"))
        for number in (1, 2, 3)
    }
    assert slots == {
        1: ("/ipfs/QmData", "0x" + "da" * 32, "first-key", DATASET.lower()),
        2: ("/ipfs/Qm0", f"0x{1:064x}", "", SECOND.lower()),  # no secret here: an empty key
        3: ("", "", "", GROUP.lower()),  # refused: only its name
    }


def test_what_the_app_gets() -> None:
    found = environments(bulk_task(*MIXED))["app"]
    names = {name: value for name, value in found.items() if "BULK" in name or name.startswith("IEXEC_DATASET_")}
    assert names == {
        "IEXEC_BULK_SLICE_SIZE": "3",
        "IEXEC_DATASET_ADDRESS": "0x" + "00" * 20,
        "IEXEC_DATASET_FILENAME": "0x" + "00" * 20,
        "IEXEC_DATASET_1_FILENAME": DATASET.lower(),
        "IEXEC_DATASET_2_FILENAME": SECOND.lower(),
        "IEXEC_DATASET_3_FILENAME": GROUP.lower(),
    }


def test_post_compute_knows_nothing_of_it() -> None:
    assert len(environments(bulk_task(GOOD))["post-compute"]) == 9


def test_no_key_of_a_refused_dataset_leaves() -> None:
    task = bulk_task(GOOD, replace(GOOD, dataset=SECOND, apprestrict=GROUP))
    stored = KEYS | {SecretKey.web3(SECOND): "canary-key"}
    made = maker()
    assert "canary-key" not in repr(made.document(made.plan(task), request(task, stored)))


def test_a_task_without_bulk_fetches_nothing() -> None:
    task = description("{}")
    assert with_bulk(bought_task(), SimulatedFiles(), task) is task
    assert not [name for name in environments(task)["app"] if "BULK" in name]


def test_the_list_is_fetched_once_per_session() -> None:
    class Counting(SimulatedFiles):
        asked: int = 0

        def file(self, name: str) -> bytes:
            self.asked += 1
            return super().file(name)

    counting = Counting()
    counting.files = files(GOOD).files
    task = with_bulk(chain_with(), counting, description(PARAMS))
    environments(task)
    assert counting.asked == 2  # the list, the slice
    assert task.task.task_id == TASK_ID
