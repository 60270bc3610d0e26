"""The rules that four orders must keep to make a deal, each broken once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adyton.base.errors import AdytonError
from adyton.base.types import parse_address
from adyton.chain import tags
from adyton.chain.orders import NULL_DATASET_ORDER, AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder
from adyton.sdk.matching import OrderSet, check_rules

APP, DATASET, POOL, USER, OTHER = (parse_address("0x" + f"{number:02x}" * 20) for number in range(1, 6))
TEE = tags.encode(["tee", "scone"])
GRAMINE = tags.encode(["tee", "gramine"])
GOOD = OrderSet(
    AppOrder(APP, appprice=1, tag=TEE),
    DatasetOrder(DATASET, datasetprice=2, tag=GRAMINE),
    WorkerpoolOrder(POOL, workerpoolprice=3, tag=TEE, category=2, trust=1),
    RequestOrder(
        APP,
        appmaxprice=1,
        dataset=DATASET,
        datasetmaxprice=2,
        workerpool=POOL,
        workerpoolmaxprice=3,
        requester=USER,
        tag=TEE,
        category=2,
        trust=1,
    ),
)


def test_good_orders() -> None:
    check_rules(GOOD)
    assert (GOOD.price, GOOD.tag, len(GOOD.present)) == (6, TEE, 4)
    check_rules(replace(GOOD, request=replace(GOOD.request, workerpool=parse_address("0x" + "00" * 20))))


def test_without_a_dataset() -> None:
    request = replace(GOOD.request, dataset=NULL_DATASET_ORDER.dataset)
    plain = replace(GOOD, dataset=NULL_DATASET_ORDER, request=request)
    check_rules(plain)
    assert (plain.has_dataset, len(plain.present), plain.price) == (False, 3, 4)


@pytest.mark.parametrize(
    ("order", "change", "message"),
    [
        ("request", {"app": OTHER}, "app address mismatch"),
        ("request", {"dataset": OTHER}, "dataset address mismatch"),
        ("request", {"workerpool": OTHER}, "workerpool address mismatch"),
        ("request", {"category": 3}, "category mismatch"),
        ("request", {"trust": 2}, "trust is too low"),
        ("request", {"tag": tags.encode(["tee", "scone", "gpu"])}, r"Missing tags \[gpu\] in workerpoolorder"),
        ("request", {"tag": GRAMINE}, "Matching order would produce an invalid deal tag. tee framework tags"),
        ("workerpool", {"tag": tags.encode([])}, r"Missing tags \[tee,scone\] in workerpoolorder"),
        ("app", {"tag": tags.encode([])}, r"Missing tag \[tee\] in apporder"),
        ("app", {"appprice": 2}, "appmaxprice too low"),
        ("dataset", {"datasetprice": 3}, "datasetmaxprice too low"),
        ("workerpool", {"workerpoolprice": 4}, "workerpoolmaxprice too low"),
        ("app", {"requesterrestrict": OTHER}, "apporder is restricted to requester"),
        ("app", {"workerpoolrestrict": OTHER}, "apporder is restricted to workerpool"),
        ("dataset", {"apprestrict": OTHER}, "datasetorder is restricted to app"),
        ("workerpool", {"datasetrestrict": OTHER}, "workerpoolorder is restricted to dataset"),
    ],
)
def test_broken_rules(order: str, change: dict[str, object], message: str) -> None:
    broken = replace(getattr(GOOD, order), **change)
    with pytest.raises(AdytonError, match=message):
        check_rules(replace(GOOD, **{order: broken}))


@pytest.mark.parametrize("name", ["app", "workerpool"])
def test_met_restrictions(name: str) -> None:
    order = replace(getattr(GOOD, name), datasetrestrict=DATASET, requesterrestrict=USER)
    check_rules(replace(GOOD, **{name: order}))
