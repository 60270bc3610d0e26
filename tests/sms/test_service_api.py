"""Protocol sections 1 (common facts), 1.6 and 1.8: documents, counts, error forms, CORS, limits; over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from tests.sms.http.test_tee_api import ask_challenge, ask_session, push_token
from tests.sms.support import APP, APP_OWNER, DATASET, REQUESTER, TASK_ID, WORKER, Service, authorization, running

from adyton import __version__
from adyton.sms.access import recipes

ME = REQUESTER.address
OPEN = ["/secrets/web3", "/secrets/web2", f"/apps/{APP}/secrets", f"/requesters/{ME}/secrets/k"]
CLOSED = ["/tee/framework", f"/tee/challenges/{TASK_ID}", "/tee/sessions", "/admin/backup", "/metrics", "/version"]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path, requests_per_s=1000) as started:
        yield started


# -- routes -------------------------------------------------------------------------------------------------------

ROUTES = {
    "/secrets/web3": {"head", "post"},
    "/secrets/web2": {"head", "post", "put"},
    "/apps/{app}/secrets": {"head", "post"},
    "/requesters/{requester}/secrets/{key}": {"head", "post"},
    "/tee/framework": {"get"},
    "/tee/properties/{name}": {"get"},
    "/tee/properties/{name}/{version}": {"get"},
    "/tee/challenges/{task_id}": {"post"},
    "/tee/sessions": {"post"},
    "/version": {"get"},
    "/metrics": {"get"},
    "/admin/backup": {"post"},
    "/admin/{storage}/replicate-backup": {"post"},
    "/admin/{storage}/restore-backup": {"post"},
    "/admin/{storage}/delete-backup": {"delete"},
    "/admin/{source}/copy-to/{target}": {"post"},
}


OURS = {"/admin/rotate-keys": {"post"}, "/actuator/health": {"get"}, "/actuator/prometheus": {"get"}}


def test_the_document_names_every_official_route_and_ours(service: Service) -> None:
    document = service.http.get("/v3/api-docs").json()
    assert document["info"] == {"title": "iExec SMS", "version": __version__}
    assert {path: set(operations) for path, operations in document["paths"].items()} == ROUTES | OURS


def test_no_route_gives_a_secret_back(service: Service) -> None:
    document = service.http.get("/v3/api-docs").json()
    for path, operations in document["paths"].items():
        if path.startswith(("/secrets", "/apps", "/requesters")):
            assert "get" not in operations
            for operation in operations.values():
                assert "content" not in operation["responses"]["204"]


def test_the_document_says_what_is_signed(service: Service) -> None:
    document = service.http.get("/v3/api-docs").json()
    assert document["components"]["securitySchemes"]["signature"]["name"] == "Authorization"
    signed = {
        (method, path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if {"signature": []} in operation.get("security", [])
    }
    assert signed == {
        (method, path)
        for path, methods in ROUTES.items()
        for method in methods & {"post", "put"}
        if not path.startswith("/admin")
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"]
            assert path.startswith("/admin") == ({"admin": []} in operation.get("security", []))


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield str(value)
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_document_has_no_dangling_references(service: Service) -> None:
    document = service.http.get("/v3/api-docs").json()
    found = set(references(document))
    assert "#/components/schemas/WorkerpoolAuthorization" in found
    for reference in found:
        section, name = reference.removeprefix("#/components/").split("/")
        assert name in document["components"][section], reference


def test_what_nobody_foresaw_is_500_without_a_word_of_why(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_address: str) -> None:
        raise RuntimeError("canary-of-the-inside")

    monkeypatch.setattr(service.chain, "asset_kind", broken)
    signature = recipes.sign(recipes.app_challenge(APP, "v"), APP_OWNER)
    answer = service.send("POST", f"/apps/{APP}/secrets", signature, "v")
    assert answer.status_code == 500
    assert set(answer.json()) == {"timestamp", "status", "error", "path"}
    assert "canary" not in answer.text


def test_the_page_has_no_scripts_and_nothing_from_elsewhere(service: Service) -> None:
    answer = service.http.get("/swagger-ui/index.html")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    for path in ROUTES:
        assert path in answer.text
    assert "<script" not in answer.text
    assert "http://" not in answer.text.replace("http://www.w3.org", "")
    assert "https://" not in answer.text


@pytest.mark.parametrize(
    "path",
    ["/up", "/h2-console/", "/docs", "/redoc", "/openapi.json", f"/apps/{APP}/secrets/1", "/cas/url", "/actuator/env"],
)
def test_what_is_old_or_inner_is_404(service: Service, path: str) -> None:
    answer = service.http.get(path)
    assert answer.status_code == 404
    assert {key: answer.json()[key] for key in ("status", "error", "path")} == {
        "status": 404,
        "error": "Not Found",
        "path": path,
    }


def test_the_wrong_method_is_405(service: Service) -> None:
    answer = service.http.delete("/secrets/web3", params={"secretAddress": DATASET})
    assert (answer.status_code, answer.json()["error"]) == (405, "Method Not Allowed")
    assert set(answer.json()) == {"timestamp", "status", "error", "path"}


@pytest.mark.parametrize("path", ["/tee/framework", "/metrics", "/version", "/actuator/health", "/v3/api-docs"])
def test_what_needs_no_signature(service: Service, path: str) -> None:
    assert service.http.get(path).status_code == 200


# -- CORS ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", OPEN)
def test_preflights_of_secret_routes(service: Service, path: str) -> None:
    asked = {
        "Origin": "https://dapp.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = service.http.options(path, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]


@pytest.mark.parametrize("path", CLOSED)
def test_no_preflight_elsewhere(service: Service, path: str) -> None:
    asked = {"Origin": "https://dapp.example", "Access-Control-Request-Method": "POST"}
    answer = service.http.options(path, headers=asked)
    assert answer.status_code in {403, 405}
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_browsers_see_refusals_and_limits(tmp_path: Path) -> None:
    with running(tmp_path, requests_per_s=0.5) as service:
        answers = [
            service.http.head("/secrets/web3", params={"secretAddress": DATASET}, headers={"Origin": "https://d.app"})
            for _ in range(3)
        ]
        assert [answer.status_code for answer in answers] == [404, 404, 429]
        for answer in answers:
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "RateLimit-Remaining" in answer.headers["access-control-expose-headers"]
        assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
        assert answers[-1].headers["retry-after"] == "2"
        assert "retry-after" not in answers[0].headers


# -- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", "/secrets/web3?secretAddress=0x1"),
        ("POST", "/secrets/web2?ownerAddress=0x1&secretName=n"),
        ("POST", f"/apps/{APP}/secrets"),
        ("HEAD", f"/requesters/{ME}/secrets/k"),
        ("POST", f"/tee/challenges/{TASK_ID}"),
        ("POST", "/tee/sessions"),
        ("POST", "/admin/backup"),
    ],
)
def test_what_is_limited(tmp_path: Path, method: str, path: str) -> None:
    with running(tmp_path, requests_per_s=0.1) as service:
        assert service.http.request(method, path).status_code != 429
        assert service.http.request(method, path).status_code == 429
        assert service.http.get("/tee/framework").status_code == 200


def test_clients_behind_a_trusted_proxy_do_not_share(tmp_path: Path) -> None:
    with running(tmp_path, requests_per_s=0.1, trusted_proxies=("127.0.0.0/8",)) as service:

        def ask(client: str) -> int:
            headers = {"X-Forwarded-For": client}
            return service.http.head("/secrets/web3", params={"secretAddress": DATASET}, headers=headers).status_code

        assert [ask("192.0.2.1"), ask("192.0.2.1"), ask("192.0.2.2")] == [404, 429, 404]
        assert ask("1.2.3.4, 192.0.2.1") == 429


# -- counts -------------------------------------------------------------------------------------------------------


def test_outcomes_are_counted(service: Service) -> None:
    signature = recipes.sign(recipes.app_challenge(APP, "v"), APP_OWNER)
    for _ in range(2):
        service.send("POST", f"/apps/{APP}/secrets", signature, "v")
    push_token(service)
    given = authorization(ask_challenge(service).text)
    ask_session(service, given)
    ask_session(service, given, wallet=REQUESTER)
    ask_challenge(service, WORKER)
    found = service.http.get("/actuator/prometheus").text
    for operation, outcome in (
        ("secret_app", "stored"),
        ("secret_app", "409"),
        ("secret_web2", "stored"),
        ("challenge", "given"),
        ("challenge", "INVALID_SIGNATURE"),
        ("session", "opened"),
        ("session", "INVALID_AUTHORIZATION"),
    ):
        assert f'adyton_sms_outcomes_total{{operation="{operation}",outcome="{outcome}"}} 1.0' in found


@pytest.mark.parametrize("name", ["web2", "web3", "compute", "tee_challenges", "ethereum_credentials"])
@pytest.mark.parametrize("suffix", ["initial", "added", "stored", "cached"])
def test_official_names(service: Service, name: str, suffix: str) -> None:
    assert f"iexec_sms_secrets_{name}_{suffix} " in service.http.get("/actuator/prometheus").text


def test_counting_that_fails_shows_minus_one(service: Service) -> None:
    with create_engine(f"sqlite:///{service.settings.database}").begin() as db:
        db.execute(text("ALTER TABLE secret RENAME TO gone"))
    service.clock.advance(60)
    metrics = service.http.get("/metrics").json()["secretsMetrics"]
    assert {each["storedCount"] for each in metrics.values()} == {-1}
    assert service.http.get("/actuator/prometheus").status_code == 200


# -- a damaged challenge ------------------------------------------------------------------------------------------


def test_a_challenge_that_cannot_be_had_is_404(service: Service) -> None:
    assert ask_challenge(service).status_code == 200
    with create_engine(f"sqlite:///{service.settings.database}").begin() as db:
        db.execute(text("UPDATE tee_challenge SET private_key = x''"))
    answer = ask_challenge(service)
    assert (answer.status_code, answer.content) == (404, b"")


def test_a_database_that_fails_is_503_for_a_challenge(service: Service) -> None:
    with create_engine(f"sqlite:///{service.settings.database}").begin() as db:
        db.execute(text("ALTER TABLE tee_challenge RENAME TO gone"))
    assert ask_challenge(service).status_code == 503
