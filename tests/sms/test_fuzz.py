"""Anything in headers, signatures, paths, queries, bodies: an answer of the protocol, never 5xx, and nothing kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from tests.sms.support import APP, DATASET, REQUESTER, TASK_ID, WORKER, Service, authorization, running

from adyton.base.errors import InputError
from adyton.sms.access import recipes

relaxed = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
ME = REQUESTER.address
GOOD = recipes.sign(recipes.web2_challenge(ME, "n", "v"), REQUESTER)

hex_texts = st.binary(max_size=80).map(lambda raw: "0x" + raw.hex())
mutated = st.builds(
    lambda at, char: GOOD[:at] + char + GOOD[at + 1 :],
    st.integers(0, len(GOOD) - 1),
    st.characters(min_codepoint=33, max_codepoint=126),
)
header_texts = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=300)
signatures = st.one_of(header_texts, hex_texts, mutated)
addresses = st.one_of(st.text(max_size=60), hex_texts, st.sampled_from([ME, APP, DATASET, ME.lower(), "0x", "0X12"]))
names = st.one_of(st.text(max_size=300), st.sampled_from(["n", "\0", "n\0", "\u0130" * 255, "\ud7ff", "%00", "../.."]))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("fuzz"), requests_per_s=100_000, contract_checks_per_s=1000) as started:
        yield started


def send(service: Service, method: str, path: str, signature: str, body: bytes, **query: str) -> httpx2.Response:
    headers = [(b"authorization", signature.encode("latin-1", errors="replace").strip())]
    return service.http.request(method, path, headers=headers, params=query, content=body)


def in_path(part: str) -> str:
    return quote(part, safe="")


def stored(service: Service) -> int:
    engine = create_engine(f"sqlite:///{service.settings.database}")
    try:
        with engine.connect() as db:
            return int(db.execute(text("SELECT count(*) FROM secret")).scalar_one())
    finally:
        engine.dispose()


@relaxed
@given(addresses, names, signatures, st.binary(max_size=50))
def test_web2(service: Service, owner: str, name: str, signature: str, body: bytes) -> None:
    for method in ("POST", "PUT"):
        answer = send(service, method, "/secrets/web2", signature, body, ownerAddress=owner, secretName=name)
        assert answer.status_code in {400, 401}
    found = service.send("HEAD", "/secrets/web2", ownerAddress=owner, secretName=name)
    assert found.status_code in {400, 404}


@relaxed
@given(addresses, signatures, st.binary(max_size=50))
def test_web3_app_and_requester(service: Service, address: str, signature: str, body: bytes) -> None:
    answer = send(service, "POST", "/secrets/web3", signature, body, secretAddress=address)
    assert answer.status_code in {400, 401}
    part = in_path(address)
    for path in (f"/apps/{part}/secrets", f"/requesters/{part}/secrets/k", f"/requesters/{ME}/secrets/{part}"):
        answer = send(service, "POST", path, signature, body)
        assert answer.status_code in {400, 401, 404, 405}, path
        assert service.http.head(path).status_code in {400, 404, 405}, path


@relaxed
@given(st.one_of(st.text(max_size=100), hex_texts), signatures)
def test_challenges(service: Service, task: str, signature: str) -> None:
    assert send(service, "POST", f"/tee/challenges/{in_path(task)}", signature, b"").status_code in {400, 401, 404, 405}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = authorization("0x" + "ee" * 20).model_dump(by_alias=True)


@relaxed
@given(st.sampled_from(sorted(MEMBERS)), json_values, signatures)
def test_sessions_with_one_member_replaced(service: Service, member: str, value: object, signature: str) -> None:
    body = json.dumps(MEMBERS | {member: value}).encode()
    assert send(service, "POST", "/tee/sessions", signature, body).status_code in {400, 401}


@relaxed
@given(st.sampled_from(["chainTaskId", "dealId", "workerWallet", "enclaveChallenge"]), st.text(max_size=90))
def test_sessions_that_the_worker_really_signed(service: Service, member: str, value: str) -> None:
    members = MEMBERS | {member: value}
    try:
        challenge = recipes.authorization_challenge(
            members["workerWallet"], members["chainTaskId"], members["enclaveChallenge"]
        )
    except InputError:  # no hex: nobody can sign it
        challenge = recipes.authorization_challenge("", TASK_ID, "")
    body = json.dumps(members).encode()
    answer = send(service, "POST", "/tee/sessions", recipes.sign(challenge, WORKER), body)
    if member == "dealId":  # informative: nothing is wrong but that no challenge was made
        assert answer.json() == {"error": "GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CHALLENGE"}
    else:
        assert answer.status_code in {400, 401} or "EMPTY_PUBLIC" in answer.text


@relaxed
@given(st.binary(max_size=300))
def test_sessions_of_any_bytes(service: Service, body: bytes) -> None:
    assert send(service, "POST", "/tee/sessions", GOOD, body).status_code == 400


@relaxed
@given(st.text(max_size=40), st.text(max_size=40))
def test_properties(service: Service, name: str, version: str) -> None:
    answer = service.http.get(f"/tee/properties/{in_path(name)}/{in_path(version)}")
    assert answer.status_code in {400, 404, 409}


@relaxed
@given(header_texts, st.text(max_size=80), st.text(max_size=80))
def test_admin(service: Service, key: str, storage: str, name: str) -> None:
    headers = [(b"x-api-key", key.encode("latin-1").strip())]
    answer = service.http.request(
        "POST",
        f"/admin/{in_path(storage)}/restore-backup",
        headers=headers,
        params={"fileName": name},
    )
    assert answer.status_code in {400, 403}  # 400: no header may hold such bytes


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"a":' * 10_000, b'"\\ud800"', b"9" * 5000, b"\x00", b"NaN"])
def test_bodies_that_break_readers(service: Service, body: bytes) -> None:
    assert send(service, "POST", "/tee/sessions", GOOD, body).status_code == 400


@pytest.mark.parametrize(
    "member",
    [
        {"taskIndex": 10**400},
        {"taskIndex": -1},
        {"taskIndex": 1.5},
        {"signature": {"value": "0x" + "1" * 5000}},
        {"signature": {}},
        {"workerWallet": "0x" + "1" * 41},
        {"enclaveChallenge": "\ud800"},
    ],
)
def test_members_that_break_readers(service: Service, member: dict[str, object]) -> None:
    body = json.dumps(MEMBERS | member).encode()
    assert send(service, "POST", "/tee/sessions", GOOD, body).status_code in {400, 401}


def test_after_all_this_nothing_is_stored_and_it_still_serves(service: Service) -> None:
    assert stored(service) == 0
    assert service.store.documents == []
    signature = recipes.sign(recipes.web2_challenge(ME, "n", "v"), REQUESTER)
    answer = service.send("POST", "/secrets/web2", signature, "v", ownerAddress=ME, secretName="n")
    assert answer.status_code == 204
