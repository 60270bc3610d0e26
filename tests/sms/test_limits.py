from __future__ import annotations

from tests.sms.support import SettableClock

from adyton.sms.limits import RateLimiter


def test_a_burst_then_the_rate() -> None:
    clock = SettableClock()
    limiter = RateLimiter(2, clock=clock)
    assert [limiter.allow("a") for _ in range(9)] == [True] * 8 + [False]
    clock.advance(0.5)
    assert limiter.allow("a")
    assert not limiter.allow("a")


def test_peers_do_not_share() -> None:
    limiter = RateLimiter(0.1, clock=SettableClock())
    assert limiter.allow("a")
    assert not limiter.allow("a")
    assert limiter.allow("b")


def test_time_going_back_gives_nothing() -> None:
    clock = SettableClock()
    limiter = RateLimiter(1, clock=clock)
    for _ in range(4):
        assert limiter.allow("a")
    clock.advance(-100)
    assert not limiter.allow("a")
