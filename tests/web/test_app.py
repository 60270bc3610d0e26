import socket
from collections.abc import Iterator

import pytest
from fastapi import Request
from tests.web.serving import serving

from adyton.base.errors import InputError, UnavailableError
from adyton.web.app import new_app
from adyton.web.client import AnswerError, HttpClient
from adyton.web.server import PortInUseError, listen


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    app = new_app("example", "1.2.3", max_body_bytes=1000)

    @app.get("/wrong")
    def wrong() -> None:
        raise InputError("the value 7 is wrong", code="example.wrong", hint="use 8")

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    with serving(app) as url:
        yield url


@pytest.fixture
def client(base_url: str) -> Iterator[HttpClient]:
    client = HttpClient(base_url, "the example")
    yield client
    client.close()


def test_health_and_metrics(client: HttpClient) -> None:
    assert client.json("GET", "/actuator/health") == {"status": "UP"}
    assert "http_requests_total" in client.request("GET", "/actuator/prometheus").text


def test_a_typed_error_becomes_a_problem_with_its_code(client: HttpClient) -> None:
    answer = client.request("GET", "/wrong", expect=(400,))
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json() == {
        "type": "about:blank",
        "title": "example.wrong",
        "status": 400,
        "detail": "the value 7 is wrong",
        "code": "example.wrong",
        "hint": "use 8",
    }


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413)])
def test_bodies_over_the_limit_are_refused(client: HttpClient, size: int, status: int) -> None:
    assert client.request("POST", "/length", content=b"x" * size, expect=(status,)).status_code == status


def test_a_body_of_undeclared_length_is_limited_too(client: HttpClient) -> None:
    chunks = (b"x" * 300 for _ in range(10))
    assert client.request("POST", "/length", content=chunks, expect=(413,)).status_code == 413


def test_an_unexpected_status_is_typed(client: HttpClient) -> None:
    with pytest.raises(AnswerError) as caught:
        client.request("GET", "/nothing?secret=1")
    assert caught.value.status == 404
    assert "secret" not in str(caught.value)


def test_a_silent_service_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = HttpClient(f"http://127.0.0.1:{unused.getsockname()[1]}", "nobody", timeout_s=1)
        with pytest.raises(UnavailableError, match="nobody"):
            client.request("GET", "/")
        client.close()


def test_a_taken_port_is_reported_with_the_remedy(base_url: str) -> None:
    port = int(base_url.rsplit(":", 1)[1])
    with pytest.raises(PortInUseError) as caught:
        listen("127.0.0.1", port)
    assert str(port) in caught.value.message
    assert "ss -ltnp" in caught.value.hint
