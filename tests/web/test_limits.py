from __future__ import annotations

from ipaddress import ip_network

import pytest
from tests.sms.support import SettableClock

from adyton.web.limits import RateLimiter, client_key


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


def test_looking_takes_nothing() -> None:
    limiter = RateLimiter(0.1, clock=SettableClock())
    assert [limiter.look("a").allowed for _ in range(3)] == [True] * 3
    assert limiter.take("a").allowed
    told = limiter.look("a")
    assert (told.allowed, told.headers()["Retry-After"]) == (False, "10")


def test_what_a_peer_is_told() -> None:
    clock = SettableClock()
    limiter = RateLimiter(0.5, clock=clock)
    first, second = limiter.take("a"), limiter.take("a")
    assert (first.allowed, first.limit, first.remaining, first.reset_s) == (True, 2, 1, 2)
    assert first.headers() == {"RateLimit-Limit": "2", "RateLimit-Remaining": "1", "RateLimit-Reset": "2"}
    assert second.reset_s == 4  # until both are there again
    refused = limiter.take("a")
    assert (refused.allowed, refused.remaining) == (False, 0)
    assert refused.headers()["Retry-After"] == "2"
    clock.advance(2)
    assert limiter.take("a").allowed


def test_peers_that_are_forgotten_start_anew() -> None:
    limiter = RateLimiter(0.1, clock=SettableClock())
    limiter.take("first")
    for number in range(10_000):
        limiter.take(str(number))
    assert limiter.take("first").allowed


PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "key"),
    [
        pytest.param("192.0.2.1", None, "192.0.2.1", id="direct"),
        pytest.param("192.0.2.1", "198.51.100.9", "192.0.2.1", id="who is no proxy is not believed"),
        pytest.param("10.0.0.1", "198.51.100.9", "198.51.100.9", id="proxy"),
        pytest.param("10.0.0.1", "1.1.1.1, 198.51.100.9", "198.51.100.9", id="what the client put before it"),
        pytest.param("10.0.0.1", "198.51.100.9, 10.9.9.9", "198.51.100.9", id="two proxies"),
        pytest.param("10.0.0.1", None, "10.0.0.1", id="proxy that names nobody"),
        pytest.param("10.0.0.1", "10.1.1.1", "10.0.0.1", id="only proxies"),
        pytest.param("10.0.0.1", "unknown", "10.0.0.1", id="no address"),
        pytest.param("10.0.0.1", ",,", "10.0.0.1", id="nothing"),
        pytest.param("fd00::1", "2001:db8:1:2:3::4", "2001:db8:1:2::/64", id="a subscriber of IPv6"),
        pytest.param("::ffff:192.0.2.1", None, "192.0.2.1", id="mapped"),
        pytest.param("", None, "", id="no peer"),
        pytest.param("socket", None, "socket", id="unix socket"),
    ],
)
def test_whom_a_request_is_counted_for(peer: str, forwarded: str | None, key: str) -> None:
    assert client_key(peer, [] if forwarded is None else [forwarded], PROXIES) == key


def test_a_header_of_the_clients_own_before_the_proxys_does_not_count() -> None:
    assert client_key("10.0.0.1", ["1.1.1.1", "198.51.100.9"], PROXIES) == "198.51.100.9"
