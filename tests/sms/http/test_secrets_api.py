"""Every row of protocol section 1.1 to 1.4 and 1.6, over a real socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import create_engine, text
from tests.sms.support import (
    APP,
    APP_OWNER,
    DATASET,
    DATASET_OWNER,
    KEY_HEX,
    POOL_OWNER,
    REQUESTER,
    STRANGE_CONTRACT,
    WORKER,
    WORKERPOOL,
    Service,
    running,
)

from adyton import __version__
from adyton.base.secret import Secret
from adyton.chain.wallet import Wallet
from adyton.sms.access import recipes
from adyton.sms.audit import AuditLog
from adyton.sms.store.database import Database

CANARY = "canary-71c0ffee"
KEY_TEXT = "Secret key should contain at most 64 characters from [0-9A-Za-z-_]"
SIZE_TEXT = "Secret size should not exceed 4 Kb"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path) as started:
        yield started


@dataclass(frozen=True)
class Case:
    """One kind of secret: where it goes, who signs, and how its refusals look."""

    path: str
    query: dict[str, str]
    owner: Wallet
    challenge: Callable[[str], str]
    too_large: tuple[int, str | None]
    unauthorized: str | None = None
    exists: str | None = None

    def sign(self, value: str, wallet: Wallet | None = None) -> str:
        return recipes.sign(self.challenge(value), wallet or self.owner)  # type: ignore[arg-type]  # Bytes32 text

    def send(self, service: Service, method: str, value: str, wallet: Wallet | None = None) -> httpx2.Response:
        return service.send(method, self.path, self.sign(value, wallet), value, **self.query)


ME = REQUESTER.address
CASES = {
    "web3": Case(
        "/secrets/web3",
        {"secretAddress": DATASET},
        DATASET_OWNER,
        lambda value: recipes.web3_challenge(DATASET, value),
        (413, None),
    ),
    "web2": Case(
        "/secrets/web2",
        {"ownerAddress": ME, "secretName": "Token"},
        REQUESTER,
        lambda value: recipes.web2_challenge(ME, "Token", value),
        (413, None),
    ),
    "app": Case(
        f"/apps/{APP}/secrets",
        {},
        APP_OWNER,
        lambda value: recipes.app_challenge(APP, value),
        (413, SIZE_TEXT),
        "Invalid authorization",
        "Secret already exists",
    ),
    "requester": Case(
        f"/requesters/{ME}/secrets/my-Key_1",
        {},
        REQUESTER,
        lambda value: recipes.requester_challenge(ME, "my-Key_1", value),
        (400, SIZE_TEXT),
        "Invalid authorization",
        "Secret already exists",
    ),
}
every_kind = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def assert_refused(response: httpx2.Response, status: int, error: str | None) -> None:
    assert response.status_code == status
    if error is None:
        assert response.content == b""
    else:
        assert response.json() == {"error": [error]}


@every_kind
def test_absent_stored_present(service: Service, case: Case) -> None:
    assert service.send("HEAD", case.path, **case.query).status_code == 404
    stored = case.send(service, "POST", "the value")
    assert (stored.status_code, stored.content) == (204, b"")
    assert service.send("HEAD", case.path, **case.query).status_code == 204


@every_kind
def test_an_existence_check_asks_nobody(service: Service, case: Case) -> None:
    case.send(service, "POST", "the value")
    calls, service.chain.down = service.chain.calls, True
    assert service.send("HEAD", case.path, **case.query).status_code == 204
    assert service.chain.calls == calls


@every_kind
def test_a_second_post_is_409(service: Service, case: Case) -> None:
    case.send(service, "POST", "first")
    assert_refused(case.send(service, "POST", "second"), 409, case.exists)
    assert_refused(case.send(service, "POST", "first"), 409, case.exists)


@every_kind
def test_a_signature_by_another_wallet_is_401(service: Service, case: Case) -> None:
    assert_refused(case.send(service, "POST", "v", WORKER), 401, case.unauthorized)
    assert service.send("HEAD", case.path, **case.query).status_code == 404


@every_kind
@pytest.mark.parametrize("signature", ["0x00", "0x" + "00" * 65, "Bearer x", "0x" + "zz" * 65])
def test_a_malformed_signature_is_401_and_costs_no_call(service: Service, case: Case, signature: str) -> None:
    assert_refused(service.send("POST", case.path, signature, "v", **case.query), 401, case.unauthorized)
    assert service.chain.calls == 0


@every_kind
def test_a_missing_signature_is_400(service: Service, case: Case) -> None:
    response = service.send("POST", case.path, "", "v", **case.query)
    assert response.status_code == 400
    assert {"status", "error", "path", "timestamp"} == set(response.json())


@every_kind
def test_an_empty_body_is_400(service: Service, case: Case) -> None:
    assert service.send("POST", case.path, case.sign(""), b"", **case.query).status_code == 400


@every_kind
def test_a_body_that_is_not_utf8_is_400(service: Service, case: Case) -> None:
    assert service.send("POST", case.path, case.sign("x"), b"\xff\xfe", **case.query).status_code == 400


@every_kind
@pytest.mark.parametrize("value", ["a" * 4096, "é" * 2048], ids=["ascii", "two bytes each"])
def test_4096_bytes_are_accepted(service: Service, case: Case, value: str) -> None:
    assert case.send(service, "POST", value).status_code == 204


@every_kind
@pytest.mark.parametrize("value", ["a" * 4097, "é" * 2048 + "a"], ids=["ascii", "two bytes each"])
def test_4097_bytes_are_refused(service: Service, case: Case, value: str) -> None:
    assert_refused(case.send(service, "POST", value), *case.too_large)
    assert service.send("HEAD", case.path, **case.query).status_code == 404


@every_kind
def test_the_signature_is_checked_before_the_size(service: Service, case: Case) -> None:
    assert_refused(case.send(service, "POST", "a" * 5000, WORKER), 401, case.unauthorized)


@every_kind
def test_a_large_body_gets_its_answer(service: Service, case: Case) -> None:
    response = service.send("POST", case.path, case.sign("a"), "a" * 200_000, **case.query)
    assert_refused(response, *case.too_large)
    assert service.send("HEAD", case.path, **case.query).status_code == 404


@every_kind
def test_a_huge_body_is_not_read_to_its_end(service: Service, case: Case) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(2000):
            sent += 1
            yield b"a" * 65536

    try:
        response = service.http.post(
            case.path, params=case.query, headers={"Authorization": case.sign("a")}, content=endless()
        )
    except httpx2.TransportError:  # the service closed while we were still sending, as it may
        pass
    else:
        assert response.status_code == case.too_large[0]
    assert sent < 2000


@every_kind
@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/x-www-form-urlencoded", "x"])
def test_the_content_type_does_not_matter(service: Service, case: Case, content_type: str) -> None:
    value = '{"not": "parsed"}&a=b'
    response = service.http.post(
        case.path,
        params=case.query,
        headers={"Authorization": case.sign(value), "Content-Type": content_type},
        content=value,
    )
    assert response.status_code == 204


@every_kind
def test_the_case_of_addresses_does_not_matter(service: Service, case: Case) -> None:
    case.send(service, "POST", "first")
    for change in (str.lower, lambda address: "0x" + address[2:].upper()):
        path = case.path
        for address in (APP, ME):
            path = path.replace(address, change(address))
        query = {name: change(v) if name.endswith("Address") else v for name, v in case.query.items()}
        assert service.send("HEAD", path, **query).status_code == 204
        # the same challenge: hex is decoded before it is hashed
        assert_refused(service.send("POST", path, case.sign("second"), "second", **query), 409, case.exists)


@every_kind
def test_concurrent_posts_store_once(service: Service, case: Case) -> None:
    with ThreadPoolExecutor(6) as threads:
        answers = threads.map(lambda n: case.send(service, "POST", f"v{n}"), range(8))
        statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [204] + [409] * 7


@every_kind
def test_a_failing_database_is_503(service: Service, case: Case) -> None:
    with create_engine(f"sqlite:///{service.settings.database}").begin() as db:
        db.execute(text("ALTER TABLE secret RENAME TO gone"))
    response = case.send(service, "POST", CANARY)
    assert response.status_code == 503
    assert response.json()["code"] == "sms.storage.unavailable"
    assert CANARY not in response.text
    assert service.send("HEAD", case.path, **case.query).status_code == 503


# -- web3 and app: who owns what ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("asset", "owner"), [(APP, APP_OWNER), (WORKERPOOL, POOL_OWNER)], ids=["app", "workerpool"])
def test_web3_secrets_only_of_datasets(service: Service, asset: str, owner: Wallet) -> None:
    signature = recipes.sign(recipes.web3_challenge(asset, "v"), owner)
    assert service.send("POST", "/secrets/web3", signature, "v", secretAddress=asset).status_code == 401


@pytest.mark.parametrize(
    "address",
    [
        pytest.param(STRANGE_CONTRACT, id="a contract with owner() outside the registries"),
        pytest.param("0x9999999999999999999999999999999999999999", id="no contract"),
        pytest.param("0x123", id="short"),
        pytest.param("dataset.eth", id="a name"),
    ],
)
def test_web3_secrets_of_nothing_known_are_401(service: Service, address: str) -> None:
    challenge = recipes.web3_challenge(address if address.startswith("0x") else "", "v")
    response = service.send("POST", "/secrets/web3", recipes.sign(challenge, REQUESTER), "v", secretAddress=address)
    assert response.status_code == 401
    assert service.send("HEAD", "/secrets/web3", secretAddress=address).status_code == 404


def test_app_secrets_only_of_apps(service: Service) -> None:
    signature = recipes.sign(recipes.app_challenge(DATASET, "v"), DATASET_OWNER)
    assert service.send("POST", f"/apps/{DATASET}/secrets", signature, "v").status_code == 401


@pytest.mark.parametrize("name", ["web3", "app"])
def test_a_node_that_is_down_is_503_not_401(service: Service, name: str) -> None:
    service.chain.down = True
    assert CASES[name].send(service, "POST", "v").status_code == 503


@pytest.mark.parametrize("name", ["web3", "app"])
def test_a_node_that_is_behind_is_not_believed(service: Service, name: str) -> None:
    service.chain.head_timestamp -= service.settings.max_head_age_s + 1
    response = CASES[name].send(service, "POST", "v")
    assert (response.status_code, response.json()["code"]) == (503, "sms.chain.stale")


@pytest.mark.parametrize("name", ["web2", "requester"])
def test_no_call_to_the_chain_where_the_request_names_the_signer(service: Service, name: str) -> None:
    service.chain.down = True
    assert CASES[name].send(service, "POST", "v").status_code == 204
    assert service.chain.calls == 0


@pytest.mark.parametrize("name", ["web2", "requester"])
def test_signatures_by_another_account_cost_one_question_a_minute(service: Service, name: str) -> None:
    for _ in range(10):  # the named address could be a contract account, so it is asked about, once
        assert CASES[name].send(service, "POST", "v", WORKER).status_code == 401
    assert service.chain.calls == 1
    service.clock.advance(61)
    assert CASES[name].send(service, "POST", "v", WORKER).status_code == 401
    assert service.chain.calls == 2


def test_a_flood_of_wrong_signatures_for_many_addresses_is_stopped(service: Service) -> None:
    statuses = []
    for number in range(8):
        owner = f"0x{number + 1:040x}"
        signature = recipes.sign(recipes.web2_challenge(owner, "n", "v"), WORKER)
        statuses.append(
            service.send("POST", "/secrets/web2", signature, "v", ownerAddress=owner, secretName="n").status_code
        )
    assert statuses == [401] * 4 + [429] * 4
    assert service.chain.calls == 4
    assert WEB2.send(service, "POST", "v").status_code == 204  # a good one needs no question


# -- web2: updates ------------------------------------------------------------------------------------------------

WEB2 = CASES["web2"]


def test_put_of_nothing_is_404(service: Service) -> None:
    assert_refused(WEB2.send(service, "PUT", "v"), 404, None)


def test_put_changes_and_unchanged_is_204(service: Service) -> None:
    WEB2.send(service, "POST", "one")
    assert WEB2.send(service, "PUT", "two").status_code == 204
    assert WEB2.send(service, "PUT", "two").status_code == 204


def test_put_by_another_wallet_is_401_even_if_absent(service: Service) -> None:
    assert_refused(WEB2.send(service, "PUT", "v", WORKER), 401, None)


def test_put_too_large_is_413_before_404(service: Service) -> None:
    assert_refused(WEB2.send(service, "PUT", "a" * 4097), 413, None)


def test_an_old_signed_write_cannot_be_replayed(service: Service) -> None:
    old = WEB2.sign("old")
    service.send("POST", WEB2.path, old, "old", **WEB2.query)
    WEB2.send(service, "PUT", "new")
    assert_refused(service.send("PUT", WEB2.path, old, "old", **WEB2.query), 401, None)
    # neither in another spelling of the same signature
    assert_refused(service.send("PUT", WEB2.path, old[2:].upper(), "old", **WEB2.query), 401, None)
    assert WEB2.send(service, "PUT", "new").status_code == 204


def test_the_owner_may_put_an_old_value_back_with_a_fresh_signature(service: Service) -> None:
    WEB2.send(service, "POST", "old")
    WEB2.send(service, "PUT", "new")
    fresh = recipes.sign_afresh(recipes.web2_challenge(ME, "Token", "old"), REQUESTER)
    assert service.send("PUT", WEB2.path, fresh, "old", **WEB2.query).status_code == 204
    WEB2.send(service, "PUT", "newer")
    assert service.send("PUT", WEB2.path, fresh, "old", **WEB2.query).status_code == 401


def test_a_requester_signature_does_not_store_a_web2_secret_too(service: Service) -> None:
    signature = recipes.sign(recipes.requester_challenge(ME, "shared", "v"), REQUESTER)
    assert service.send("POST", f"/requesters/{ME}/secrets/shared", signature, "v").status_code == 204
    stolen = service.send("POST", "/secrets/web2", signature, "v", ownerAddress=ME, secretName="shared")
    assert stolen.status_code == 401


def test_web2_names_are_case_insensitive_and_signed_as_sent(service: Service) -> None:
    WEB2.send(service, "POST", "v")
    for name in ("token", "TOKEN"):
        assert service.send("HEAD", WEB2.path, ownerAddress=ME, secretName=name).status_code == 204
    signature = recipes.sign(recipes.web2_challenge(ME, "TOKEN", "w"), REQUESTER)
    assert service.send("PUT", WEB2.path, signature, "w", ownerAddress=ME, secretName="TOKEN").status_code == 204
    signature = recipes.sign(recipes.web2_challenge(ME, "token", "x"), REQUESTER)
    assert service.send("PUT", WEB2.path, signature, "x", ownerAddress=ME, secretName="TOKEN").status_code == 401


def test_a_web2_name_beyond_255_characters_is_refused(service: Service) -> None:
    name = "n" * 256
    signature = recipes.sign(recipes.web2_challenge(ME, name, "v"), REQUESTER)
    assert service.send("POST", WEB2.path, signature, "v", ownerAddress=ME, secretName=name).status_code == 400
    assert service.send("HEAD", WEB2.path, ownerAddress=ME, secretName=name).status_code == 404


def test_put_exists_for_web2_only(service: Service) -> None:
    for name in ("web3", "app", "requester"):
        assert CASES[name].send(service, "PUT", "v").status_code == 405


# -- requester: keys ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a" * 65, "a:b", "a!b", "a*b", "a~b", "a b", "é"])
def test_malformed_requester_keys_are_400(service: Service, key: str) -> None:
    path = f"/requesters/{ME}/secrets/{key}"
    signature = recipes.sign(recipes.requester_challenge(ME, key, "v"), REQUESTER)
    assert_refused(service.send("POST", path, signature, "v"), 400, KEY_TEXT)
    assert service.send("HEAD", path).status_code == 400


def test_the_signature_is_checked_before_the_key_and_the_key_before_the_size(service: Service) -> None:
    path = f"/requesters/{ME}/secrets/a:b"
    signature = recipes.sign(recipes.requester_challenge(ME, "a:b", "v"), WORKER)
    assert_refused(service.send("POST", path, signature, "v"), 401, "Invalid authorization")
    large = "v" * 5000
    signature = recipes.sign(recipes.requester_challenge(ME, "a:b", large), REQUESTER)
    assert_refused(service.send("POST", path, signature, large), 400, KEY_TEXT)


@pytest.mark.parametrize("key", ["a", "Z" * 64, "0", "-", "_", "a-B_9"])
def test_good_requester_keys(service: Service, key: str) -> None:
    signature = recipes.sign(recipes.requester_challenge(ME, key, "v"), REQUESTER)
    assert service.send("POST", f"/requesters/{ME}/secrets/{key}", signature, "v").status_code == 204


def test_requester_keys_are_case_sensitive(service: Service) -> None:
    for key in ("key", "KEY"):
        signature = recipes.sign(recipes.requester_challenge(ME, key, "v"), REQUESTER)
        assert service.send("POST", f"/requesters/{ME}/secrets/{key}", signature, "v").status_code == 204


# -- the rest -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/secrets/web3", "/secrets/web2", f"/apps/{APP}/secrets", f"/requesters/{ME}/secrets/k"]
)
def test_secret_routes_are_open_to_every_origin(service: Service, path: str) -> None:
    origin = {"Origin": "https://dapp.example", "Access-Control-Request-Method": "POST"}
    preflight = service.http.options(path, headers=origin | {"Access-Control-Request-Headers": "authorization"})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    answer = service.http.head(path, headers={"Origin": "https://dapp.example"})
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/tee/framework", "/metrics", "/version"])
def test_other_routes_are_not(service: Service, path: str) -> None:
    answer = service.http.get(path, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_missing_query_parameters_are_400(service: Service) -> None:
    assert service.send("HEAD", "/secrets/web3").status_code == 400
    assert service.send("HEAD", "/secrets/web2", ownerAddress=ME).status_code == 400
    assert service.send("POST", "/secrets/web2", "0x00", "v", secretName="n").status_code == 400


def test_existence_checks_are_rate_limited(tmp_path: Path) -> None:
    with running(tmp_path, requests_per_s=1) as service:
        statuses = [service.send("HEAD", "/secrets/web3", secretAddress=DATASET).status_code for _ in range(6)]
        assert statuses == [404] * 4 + [429] * 2
        refused = service.send("HEAD", "/secrets/web3", secretAddress=DATASET)
        assert refused.headers["retry-after"] == "1"
        assert (refused.headers["ratelimit-limit"], refused.headers["ratelimit-remaining"]) == ("4", "0")
        service.clock.advance(1)
        assert service.send("HEAD", "/secrets/web3", secretAddress=DATASET).status_code == 404


def test_version_health_and_documents(service: Service) -> None:
    assert service.http.get("/version").text == __version__
    assert service.http.get("/actuator/health").json() == {"status": "UP"}
    assert service.http.get("/v3/api-docs").json()["info"]["title"] == "iExec SMS"
    assert service.http.get("/secrets/web3", params={"secretAddress": DATASET}).status_code == 405


def test_metrics(service: Service) -> None:
    CASES["app"].send(service, "POST", "v")
    CASES["requester"].send(service, "POST", "v")
    service.clock.advance(60)
    metrics = service.http.get("/metrics").json()["secretsMetrics"]
    assert set(metrics) == {"web2", "web3", "compute", "TEE challenges", "Ethereum Credentials"}
    assert metrics["compute"] == {
        "secretsType": "compute",
        "initialCount": 0,
        "storedCount": 2,
        "addedSinceStartCount": 2,
        "cachedSecretsCount": 0,
    }
    prometheus = service.http.get("/actuator/prometheus").text
    assert "iexec_sms_secrets_compute_stored 2.0" in prometheus
    assert f'iexec_version_info{{iexecAppName="iexec-sms",iexecAppVersion="{__version__}"' in prometheus


def test_a_restarted_service_knows_its_secrets(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        assert not first.settings.database_key_file.exists()
        for case in CASES.values():
            case.send(first, "POST", "kept")
    with running(tmp_path) as second:
        for case in CASES.values():
            assert second.send("HEAD", case.path, **case.query).status_code == 204
        assert WEB2.send(second, "PUT", "kept").status_code == 204
        assert second.http.get("/metrics").json()["secretsMetrics"]["compute"]["initialCount"] == 2


def test_values_appear_nowhere_but_encrypted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running(tmp_path) as service:
        for case in CASES.values():
            case.send(service, "POST", CANARY)
            case.send(service, "POST", CANARY + "2")
            case.send(service, "POST", CANARY, WORKER)
        WEB2.send(service, "PUT", CANARY + "3")
        database = create_engine(f"sqlite:///{service.settings.database}")
        entries = AuditLog(Database(database, Secret(bytes.fromhex(KEY_HEX)))).verify()
        database.dispose()
    assert [entry.event for entry in entries].count("secret.stored") == 4
    assert [entry.event for entry in entries].count("secret.replaced") == 1
    captured = capfd.readouterr()
    assert CANARY not in captured.out + captured.err + repr(entries)
    for file in tmp_path.iterdir():
        assert CANARY.encode() not in file.read_bytes()
        assert KEY_HEX.encode() not in file.read_bytes()
