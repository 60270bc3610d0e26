from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest

from adyton.base.db import open_engine
from adyton.base.onetime import VALUE_CHARS, OneTimeValues


class Time:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def values(tmp_path: Path, time: Time) -> OneTimeValues:
    return OneTimeValues(open_engine(tmp_path / "db.sqlite"), "test", timedelta(seconds=300), time)


def test_a_value_is_good_once(values: OneTimeValues) -> None:
    value = values.issue("alice", str.upper)
    assert len(value) == VALUE_CHARS
    assert values.issue("alice", str.upper) == value
    assert values.find("alice", value.upper()) == value
    assert values.take("alice", value.upper())
    assert not values.take("alice", value.upper())
    assert values.find("alice", value.upper()) is None
    assert values.issue("alice", str.upper) != value


def test_a_value_is_its_subject_s_own(values: OneTimeValues) -> None:
    handle = values.issue("alice", str.upper).upper()
    assert values.find("bob", handle) is None
    assert not values.take("bob", handle)
    assert values.take("alice", handle)


def test_a_value_expires(values: OneTimeValues, time: Time) -> None:
    value = values.issue("alice", str)
    time.now += timedelta(seconds=299)
    assert values.find("alice", value) == value
    time.now += timedelta(seconds=1)
    assert values.find("alice", value) is None
    assert not values.take("alice", value)
    assert values.issue("alice", str) != value


def test_of_two_takers_one_gets_it(values: OneTimeValues) -> None:
    value = values.issue("alice", str)
    taken: list[bool] = []
    threads = [Thread(target=lambda: taken.append(values.take("alice", value))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 7 + [True]
