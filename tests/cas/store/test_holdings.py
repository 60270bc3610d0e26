"""Counts of sessions that are kept in step with the database."""

from __future__ import annotations

from adyton.cas.store.holdings import Holdings


def test_it_counts_once_and_follows_what_is_added_and_deleted() -> None:
    stored, asked = {"a": 3, "b": 0}, []

    def count(creator: str) -> int:
        asked.append(creator)
        return stored[creator]

    holdings = Holdings(count)
    assert (holdings.of("a"), holdings.of("b"), holdings.of("a")) == (3, 0, 3)
    stored["a"] += 1
    holdings.added("a")
    assert holdings.of("a") == 4
    assert asked == ["a", "b"]
    stored["a"] = 1
    holdings.forget()
    assert holdings.of("a") == 1
    assert asked == ["a", "b", "a"]


def test_what_is_added_before_the_first_count_is_not_counted_twice() -> None:
    holdings = Holdings(lambda _creator: 5)
    holdings.added("a")
    assert holdings.of("a") == 5
