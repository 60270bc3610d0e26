"""The client against the real service, and against answers that a service should not give."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.sms.support import (
    APP,
    APP_OWNER,
    DATASET,
    DATASET_OWNER,
    POOL_OWNER,
    REQUESTER,
    TASK_ID,
    WORKER,
    Service,
    authorization,
    running,
)

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.secret import Secret
from adyton.sms.client import SmsClient
from adyton.sms.errors import (
    ChallengeRefusedError,
    FrameworkMismatchError,
    NotAllowedError,
    SecretExistsError,
    SecretNameError,
    SecretSizeError,
    SessionRefusedError,
    UnexpectedStatusError,
)
from adyton.sms.wire import IPFS_TOKEN, Framework, SessionFailure

ME = REQUESTER.address
VALUE = Secret("the value")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def client(service: Service) -> Iterator[SmsClient]:
    made = SmsClient(service.url)
    yield made
    made.close()


def test_dataset_secrets(client: SmsClient) -> None:
    assert not client.check_web3(DATASET)
    client.push_web3(DATASET, VALUE, DATASET_OWNER)
    assert client.check_web3(DATASET)
    with pytest.raises(SecretExistsError) as caught:
        client.push_web3(DATASET, VALUE, DATASET_OWNER)
    assert caught.value.message == f"Secret already exists for {DATASET} and can't be updated"
    with pytest.raises(NotAllowedError) as refused:
        client.push_web3(DATASET, VALUE, WORKER)
    assert refused.value.message == f"Wallet {WORKER.address} is not allowed to set secret for {DATASET}"


def test_app_secrets(client: SmsClient) -> None:
    assert not client.check_app(APP)
    client.push_app(APP, VALUE, APP_OWNER)
    assert client.check_app(APP)
    with pytest.raises(SecretExistsError, match="can't be updated"):
        client.push_app(APP, VALUE, APP_OWNER)
    with pytest.raises(NotAllowedError):
        client.push_app(APP, VALUE, WORKER)


def test_requester_secrets(client: SmsClient) -> None:
    assert not client.check_requester(ME, "login")
    client.push_requester("login", VALUE, REQUESTER)
    assert client.check_requester(ME, "login")
    with pytest.raises(SecretExistsError) as caught:
        client.push_requester("login", VALUE, REQUESTER)
    assert caught.value.message == f'Secret "login" already exists for {ME}'


@pytest.mark.parametrize("key", ["a:b", "a" * 65])
def test_a_malformed_requester_key(client: SmsClient, key: str) -> None:
    with pytest.raises(AdytonError) as caught:
        client.push_requester(key, VALUE, REQUESTER)
    assert isinstance(caught.value, SecretNameError | UnexpectedStatusError)


def test_web2_secrets(client: SmsClient) -> None:
    assert client.push_web2(IPFS_TOKEN, Secret("one"), REQUESTER) is False
    with pytest.raises(SecretExistsError) as caught:
        client.push_web2(IPFS_TOKEN, Secret("two"), REQUESTER)
    assert caught.value.message == f'Secret "{IPFS_TOKEN}" already exists for {ME}'
    for value in ("two", "one", "two", "two"):  # back and forth: each time signed afresh
        assert client.push_web2(IPFS_TOKEN, Secret(value), REQUESTER, force_update=True) is True
    assert client.check_web2(ME, IPFS_TOKEN)


def test_too_large_values_do_not_leave(client: SmsClient) -> None:
    with pytest.raises(SecretSizeError):
        client.push_web3(DATASET, Secret("é" * 2049), DATASET_OWNER)


def test_framework_and_properties(client: SmsClient) -> None:
    assert client.framework() is Framework.SCONE
    properties = client.properties("SCONE", "v1")
    assert properties.pre_compute_properties.heap_size_in_bytes == 1 << 30
    assert properties.tee_framework is Framework.SCONE
    with pytest.raises(FrameworkMismatchError) as version:
        client.properties(Framework.SCONE, "v9")
    assert version.value.code == "sms.framework.version"
    with pytest.raises(FrameworkMismatchError) as other:
        client.properties("TDX", "v1")
    assert other.value.code == "sms.framework.mismatch"
    with pytest.raises(UnexpectedStatusError, match="400 Bad Request"):
        client.properties("SEV", "v1")


def test_challenge_and_session(client: SmsClient, service: Service) -> None:
    challenge = client.challenge(TASK_ID, POOL_OWNER)
    client.push_web2(IPFS_TOKEN, Secret("jwt"), WORKER)
    session = client.session(authorization(challenge), WORKER)
    assert session.provisioning_url == "127.0.0.1:18765"
    assert service.store.documents[0]["name"] == session.session_id


def test_refused_challenges_and_sessions(client: SmsClient) -> None:
    with pytest.raises(ChallengeRefusedError):
        client.challenge(TASK_ID, WORKER)
    challenge = client.challenge(TASK_ID, POOL_OWNER)
    with pytest.raises(SessionRefusedError) as caught:
        client.session(authorization(challenge), WORKER)
    assert caught.value.failure is SessionFailure.POST_COMPUTE_GET_STORAGE_TOKENS_FAILED


@contextmanager
def answering(status: int, body: bytes) -> Iterator[SmsClient]:
    """A client of a server that always gives the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_HEAD = _answer  # noqa: N815  # the base class's names

        def log_message(self, *_arguments: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    client = SmsClient(f"http://127.0.0.1:{server.server_port}")
    try:
        yield client
    finally:
        client.close()
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_unexpected_status_has_the_official_text() -> None:
    with answering(500, b"") as client:
        with pytest.raises(UnexpectedStatusError) as caught:
            client.check_web3(DATASET)
        assert caught.value.message == "SMS answered with unexpected status: 500 Internal Server Error"
        with pytest.raises(UnexpectedStatusError):
            client.push_web3(DATASET, VALUE, DATASET_OWNER)
        with pytest.raises(UnexpectedStatusError):
            client.challenge(TASK_ID, POOL_OWNER)
        with pytest.raises(UnexpectedStatusError):
            client.framework()


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (500, b"", SessionFailure.UNKNOWN_ISSUE),
        (404, b"", SessionFailure.UNKNOWN_ISSUE),
        (200, b"{}", SessionFailure.UNKNOWN_ISSUE),
        (500, b'{"error":"FROM_THE_FUTURE"}', SessionFailure.UNKNOWN_ISSUE),
        (200, b'{"data":{"sessionId":1}}', SessionFailure.UNKNOWN_ISSUE),
        (500, b'{"error":"GET_TASK_DESCRIPTION_FAILED"}', SessionFailure.GET_TASK_DESCRIPTION_FAILED),
    ],
)
def test_what_is_no_session(status: int, body: bytes, failure: SessionFailure) -> None:
    with answering(status, body) as client:
        with pytest.raises(SessionRefusedError) as caught:
            client.session(authorization("0x" + "ee" * 20), WORKER)
        assert caught.value.failure is failure


@pytest.mark.parametrize("body", [b"", b"SCONE", b'"SEV"', b"{}", b"\xff"])
def test_what_is_no_framework(body: bytes) -> None:
    with answering(200, body) as client, pytest.raises(UnavailableError):
        client.framework()


def test_what_is_no_challenge() -> None:
    with answering(200, b"<html>") as client, pytest.raises(UnavailableError):
        client.challenge(TASK_ID, POOL_OWNER)


def test_nobody_there() -> None:
    client = SmsClient("http://127.0.0.1:1")
    with pytest.raises(UnavailableError):
        client.check_web3(DATASET)
    client.close()
