from __future__ import annotations

import pytest

from adyton.base.types import Address, Bytes32, keccak
from adyton.chain import abi, events
from adyton.chain.rpc import Log

CONTRACT = Address("0x" + "11" * 20)
WORD = Bytes32("0x" + "22" * 32)
TASK = Bytes32("0x" + "33" * 32)
WHO = Address("0x" + "44" * 20)
WHO_WORD = Bytes32("0x" + "00" * 12 + "44" * 20)


def record(topics: list[Bytes32], data: bytes = b"", address: Address = CONTRACT) -> Log:
    return Log(address, tuple(topics), data, 1, WORD, WORD, 0)


@pytest.mark.parametrize("event", events._CLASSES)
def test_topic_is_the_hash_of_the_signature(event: type[events.Event]) -> None:
    assert events.TOPICS[event.__name__] == "0x" + keccak(event.signature.encode()).hex()


def test_every_event_is_in_both_tables() -> None:
    assert {event.__name__ for event in events._CLASSES} == set(events.TOPICS)


def test_data_only() -> None:
    data = abi.encode("(bytes32,bytes32,bytes32,bytes32,bytes32,uint256)", *[TASK] * 5, 7)
    log = record([events.TOPICS["OrdersMatched"]], data)
    assert events.decode(log) == events.OrdersMatched(log, TASK, TASK, TASK, TASK, TASK, 7)


def test_topics_and_data() -> None:
    log = record([events.TOPICS["TaskContribute"], TASK, WHO_WORD], abi.encode("(bytes32)", WORD))
    assert events.decode(log) == events.TaskContribute(log, TASK, WHO, WORD)


def test_the_two_transfers_are_told_apart_by_their_topics() -> None:
    topic = events.TOPICS["Transfer"]
    money = record([topic, WHO_WORD, WHO_WORD], abi.encode("(uint256)", 5))
    assert events.decode(money) == events.Transfer(money, WHO, WHO, 5)
    asset = record([topic, WHO_WORD, WHO_WORD, WHO_WORD])
    found = events.decode(asset)
    assert isinstance(found, events.AssetTransfer)
    assert found.asset == WHO


@pytest.mark.parametrize(
    "log",
    {
        "no topics": record([]),
        "unknown topic": record([WORD]),
        "too few topics": record([events.TOPICS["TaskContribute"], TASK], abi.encode("(bytes32)", WORD)),
        "data cut off": record([events.TOPICS["TaskContribute"], TASK, WHO_WORD], bytes(31)),
        "topic that is no address": record([events.TOPICS["TaskContribute"], TASK, WORD], bytes(32)),
    }.values(),
)
def test_record_that_is_no_known_event(log: Log) -> None:
    assert events.decode(log) is None


def test_find_believes_only_the_named_contract() -> None:
    data = abi.encode("(bytes32)", TASK)
    good = record([events.TOPICS["ClosedAppOrder"]], data)
    forged = record([events.TOPICS["ClosedAppOrder"]], data, address=WHO)
    assert events.find([forged, good], events.ClosedAppOrder, CONTRACT) == [events.ClosedAppOrder(good, TASK)]
