"""The market's HTTP layer (market reference, sections 11 and 12)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from tests.market.conftest import Bazaar

from adyton.market.edge import Edge, RateLimiter

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_every_route_needs_the_chain(bazaar: Bazaar) -> None:
    for path in (
        "/apporders",
        "/deals",
        "/categories",
        "/metrics",
        "/challenge",
        "/ohlc",
        f"/requestorders/0x{'1' * 64}",
    ):
        for chain_id, text in {
            None: "chainId is a required field",
            "1": "chainId 1 is not supported",
            "0134": "chainId 0134 is not supported",
            "": "chainId  is not supported",
        }.items():
            answer = bazaar.get(path, chainId=chain_id)
            assert (answer.status_code, answer.json()) == (400, {"ok": False, "error": text}), path


def test_unknown_routes_and_methods_are_plain_text(bazaar: Bazaar) -> None:
    missing = httpx2.get(bazaar.url + "/nothing")
    assert (missing.status_code, missing.text) == (404, "Not Found")
    assert missing.headers["content-type"].startswith("text/plain")
    wrong = httpx2.delete(bazaar.url + "/apporders")
    assert (wrong.status_code, wrong.text) == (405, "Method Not Allowed")
    assert "allow" in wrong.headers


def test_paths_are_forgiving_and_head_works(bazaar: Bazaar) -> None:
    version = httpx2.get(bazaar.url + "/version")
    assert httpx2.get(bazaar.url + "/VERSION/").json() == version.json()
    assert version.headers["content-type"] == "application/json; charset=utf-8"
    assert httpx2.head(bazaar.url + "/version").status_code == 200


def test_unknown_documents(bazaar: Bazaar) -> None:
    unknown = "0x" + "12" * 32
    for path, text in {
        f"/apporders/{unknown}": "apporder not found",
        f"/datasetorders/{unknown}": "datasetorder not found",
        f"/workerpoolorders/{unknown}": "workerpoolorder not found",
        f"/requestorders/{unknown}": "requestorder not found",
        f"/deals/{unknown}": "deal not found",
    }.items():
        answer = bazaar.get(path)
        assert (answer.status_code, answer.json()) == (404, {"ok": False, "error": text})


def test_a_body_that_is_not_json(bazaar: Bazaar) -> None:
    chain_id = bazaar.chain.deployment.chain_id
    answer = httpx2.post(
        f"{bazaar.url}/apporders?chainId={chain_id}", content=b"{", headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["ok"]) == (400, False)


def test_cross_origin_access_is_open(bazaar: Bazaar) -> None:
    answer = httpx2.get(bazaar.url + "/version", headers={"origin": "https://shop.example"})
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["vary"] == "Origin"
    preflight = httpx2.options(
        bazaar.url + "/apporders",
        headers={
            "origin": "https://shop.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization",
        },
    )
    assert (preflight.status_code, preflight.headers["access-control-allow-headers"]) == (204, "authorization")
    assert preflight.headers["access-control-allow-methods"] == "GET,HEAD,PUT,POST,DELETE,PATCH"


def limited(client_host: str) -> TestClient:
    app = FastAPI()

    @app.get("/")
    def root() -> dict[str, bool]:
        return {"ok": True}

    app.add_middleware(Edge, limiter=RateLimiter(2, 60, lambda: NOW))
    return TestClient(app, client=(client_host, 1))


def test_callers_over_the_limit_are_told_to_wait() -> None:
    client = limited("192.0.2.1")
    answers = [client.get("/", headers={"x-forwarded-for": str(number)}) for number in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert answers[2].json() == {"ok": False, "error": "Rate limit exceeded"}
    assert answers[2].headers["retry-after"] == "60"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_not_limited(host: str) -> None:
    client = limited(host)
    assert {client.get("/").status_code for _ in range(5)} == {200}


def test_a_window_ends() -> None:
    now = NOW
    limiter = RateLimiter(1, 60, lambda: now)
    assert [limiter.count("a")[0], limiter.count("a")[0], limiter.count("b")[0]] == [0, -1, 0]
    now += timedelta(seconds=60)
    assert limiter.count("a")[0] == 0
