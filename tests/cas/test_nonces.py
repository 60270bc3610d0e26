"""Nonces: single use, expiry, strangers, bounded memory."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from adyton.base.errors import UnavailableError
from adyton.cas.nonces import LIFETIME_S, NonceBook, NonceError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_nonce_is_spent_once() -> None:
    book = NonceBook()
    nonce = book.issue(NOW)
    book.check(nonce, NOW)
    book.spend(nonce, NOW)
    with pytest.raises(NonceError, match="used before"):
        book.check(nonce, NOW)
    with pytest.raises(NonceError, match="used before"):
        book.spend(nonce, NOW)


def test_a_nonce_expires() -> None:
    book = NonceBook()
    nonce = book.issue(NOW)
    book.check(nonce, NOW + timedelta(seconds=LIFETIME_S - 1))
    with pytest.raises(NonceError, match="older"):
        book.check(nonce, NOW + timedelta(seconds=LIFETIME_S))


def test_strangers_are_refused() -> None:
    book = NonceBook()
    nonce = book.issue(NOW)
    later = (int.from_bytes(nonce[12:16], "big") + 3600).to_bytes(4, "big")
    strangers = [
        NonceBook().issue(NOW),
        bytes(32),
        b"",
        nonce[:-1],
        nonce + b"\0",
        nonce[:12] + later + nonce[16:],
        bytes([nonce[0] ^ 1]) + nonce[1:],
        nonce[:-1] + bytes([nonce[-1] ^ 1]),
    ]
    for stranger in strangers:
        with pytest.raises(NonceError, match="not issued"):
            book.spend(stranger, NOW)
    book.spend(nonce, NOW)


def test_memory_is_bounded_and_freed_by_time() -> None:
    book = NonceBook(max_spent=3)
    for _ in range(3):
        book.spend(book.issue(NOW), NOW)
    with pytest.raises(UnavailableError) as caught:
        book.spend(book.issue(NOW), NOW)
    assert caught.value.code == "cas.release.busy"
    later = NOW + timedelta(seconds=LIFETIME_S)
    book.spend(book.issue(later), later)
    assert len(book._spent) == 1


def test_issuing_costs_no_memory() -> None:
    book = NonceBook()
    assert len({book.issue(NOW) for _ in range(1000)}) == 1000
    assert not book._spent


def test_of_many_at_once_one_wins() -> None:
    book = NonceBook()
    nonce = book.issue(NOW)
    won: list[int] = []
    barrier = threading.Barrier(8)

    def spend(number: int) -> None:
        barrier.wait()
        try:
            book.spend(nonce, NOW)
        except NonceError:
            return
        won.append(number)

    threads = [threading.Thread(target=spend, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
