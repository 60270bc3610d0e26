"""Nonces: single use, expiry, strangers, constant memory under a flood."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from adyton.cas.releasing.nonces import LIFETIME_S, NONCE_BYTES, NonceBook, NonceError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_nonce_is_spent_once() -> None:
    book = NonceBook()
    nonce = book.issue(NOW)
    book.spend(nonce, NOW)
    for _ in range(2):
        with pytest.raises(NonceError, match="used before"):
            book.spend(nonce, NOW)


def test_spending_one_leaves_its_neighbours() -> None:
    book = NonceBook(window=16)
    nonces = [book.issue(NOW) for _ in range(16)]
    for nonce in (*nonces[1::2], *nonces[::2]):
        book.spend(nonce, NOW)


def test_a_nonce_expires() -> None:
    book = NonceBook()
    first, second = book.issue(NOW), book.issue(NOW)
    book.spend(first, NOW + timedelta(seconds=LIFETIME_S - 1))
    with pytest.raises(NonceError, match="older"):
        book.spend(second, NOW + timedelta(seconds=LIFETIME_S))


def test_an_expired_nonce_does_not_come_back_with_the_clock() -> None:
    book = NonceBook()
    nonce = book.issue(NOW)
    book.spend(nonce, NOW)
    with pytest.raises(NonceError, match="older"):
        book.spend(nonce, NOW + timedelta(days=1))
    with pytest.raises(NonceError, match="used before"):
        book.spend(nonce, NOW)


def test_strangers_are_refused() -> None:
    book = NonceBook()
    nonce = book.issue(NOW)
    flipped = [nonce[:i] + bytes([nonce[i] ^ 1 << i % 8]) + nonce[i + 1 :] for i in range(NONCE_BYTES)]
    strangers = [NonceBook().issue(NOW), bytes(32), b"", nonce[:-1], nonce + b"\0", nonce[16:] + nonce[:16], *flipped]
    for stranger in strangers:
        with pytest.raises(NonceError, match="not issued"):
            book.spend(stranger, NOW)
    book.spend(nonce, NOW)


def test_challenges_differ_in_every_part_and_have_the_full_length() -> None:
    """Where a constant is sent for a challenge, all evidence is fresh forever."""
    book = NonceBook()
    nonces = [book.issue(NOW) for _ in range(1000)]
    assert {len(nonce) for nonce in nonces} == {NONCE_BYTES}
    for start in range(0, NONCE_BYTES, 8):
        assert len({nonce[start : start + 8] for nonce in nonces}) == 1000
    assert not {nonce[:8] for nonce in nonces} & {NonceBook().issue(NOW)[:8] for _ in range(1000)}


def test_a_flood_of_requests_and_of_bad_evidence_pushes_out_nobody() -> None:
    book = NonceBook(window=1024)
    before = len(book._used)
    honest = book.issue(NOW)
    for _ in range(1023):
        book.spend(book.issue(NOW), NOW)
    book.spend(honest, NOW)
    assert len(book._used) == before == 128


def test_what_is_forgotten_is_refused() -> None:
    book = NonceBook(window=64)
    used, unused = book.issue(NOW), book.issue(NOW)
    book.spend(used, NOW)
    for _ in range(64):
        book.issue(NOW)
    for nonce in (used, unused):
        with pytest.raises(NonceError, match="more than 64"):
            book.spend(nonce, NOW)


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
