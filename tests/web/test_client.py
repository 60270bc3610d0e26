"""The HTTP client: what it takes, and what it does not take from a service that it does not trust."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import pytest
from tests.web.serving import serving

from adyton.base.errors import UnavailableError
from adyton.web import client as module
from adyton.web.client import AnswerError, HttpClient

TEXT = b'{"answer": "' + b"x" * 4000 + b'"}'


async def answers(scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI
    """Answers with ``TEXT``: plain, packed below ``/packed``, with status 404 below ``/nowhere``."""
    packed, status = scope["path"] == "/packed", 404 if scope["path"] == "/nowhere" else 200
    headers = [(b"content-type", b"application/json"), *([(b"content-encoding", b"gzip")] if packed else [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": gzip.compress(TEXT) if packed else TEXT})


@pytest.fixture
def client() -> Iterator[HttpClient]:
    with serving(answers, lifespan="off") as url:
        opened = HttpClient(url, "the service")
        yield opened
        opened.close()


@pytest.mark.parametrize("path", ["/plain", "/packed"])
def test_an_answer(client: HttpClient, path: str) -> None:
    assert client.request("GET", path).content == TEXT
    assert client.json("GET", path) == {"answer": "x" * 4000}


def test_another_status_comes_with_the_text(client: HttpClient) -> None:
    with pytest.raises(AnswerError) as caught:
        client.request("GET", "/nowhere?secret=1")
    assert (caught.value.status, caught.value.body) == (404, TEXT.decode()[:2000])
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("path", ["/plain", "/packed"])
def test_an_answer_without_end_is_refused_as_it_is_after_unpacking(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 1000)
    with pytest.raises(UnavailableError, match="more than"):
        client.request("GET", path)


@pytest.mark.parametrize("url", ["http://\x00a", f"http://{'a' * 70}.example", "http://[::1", "http://127.0.0.1:99999"])
def test_an_address_that_is_none_is_no_answer(url: str) -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        HttpClient(url, "the service").request("GET", "/")
