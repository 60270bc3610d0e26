"""The service, as a process on a real chain, does what its OpenAPI document says, whatever it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Chain
from tests.sms.process import ADMIN_KEY, SmsProcess, sms_process
from tests.web.contract import check_contract

# A signature that is not there is 400, as officially. Which folders are inside the storage location, and whether the
# database key can be exchanged where no CAS gave it, no document can say.
SETTINGS = """
[checks]
missing_required_header.enabled = false

[[operations]]
include-path-regex = "^/admin/"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = "/admin/rotate-keys"
enabled = false
"""
SECRETS = {
    "/secrets/web3": {"head", "post"},
    "/secrets/web2": {"head", "post", "put"},
    "/apps/{app}/secrets": {"head", "post"},
    "/requesters/{requester}/secrets/{key}": {"head", "post"},
}


@pytest.fixture(scope="module")
def program(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmsProcess]:
    with sms_process(tmp_path_factory.mktemp("openapi"), chain) as running:
        yield running
        assert running.process.poll() is None
        assert "Traceback" not in running.log


def test_the_document_names_every_route(program: SmsProcess) -> None:
    document = program.http.get("/v3/api-docs").json()
    paths = {path: set(members) for path, members in document["paths"].items()}
    operations = ("restore-backup", "replicate-backup")
    assert paths == SECRETS | {
        "/tee/framework": {"get"},
        "/tee/properties/{name}": {"get"},
        "/tee/properties/{name}/{version}": {"get"},
        "/tee/challenges/{task_id}": {"post"},
        "/tee/sessions": {"post"},
        **{f"/admin/{{storage}}/{name}": {"post"} for name in operations},
        "/admin/{storage}/delete-backup": {"delete"},
        "/admin/{source}/copy-to/{target}": {"post"},
        "/admin/backup": {"post"},
        "/admin/rotate-keys": {"post"},
        "/version": {"get"},
        "/metrics": {"get"},
        "/actuator/health": {"get"},
        "/actuator/prometheus": {"get"},
    }
    for path, members in document["paths"].items():
        for method, operation in members.items():
            needs = {"post", "put"} if path in SECRETS or path.startswith("/tee/") else set()
            expected = "admin" if path.startswith("/admin/") else "signature" if method in needs else None
            assert operation.get("security") == ([{expected: []}] if expected else None), (path, method)


def test_it_keeps_to_its_document(program: SmsProcess, tmp_path: Path) -> None:
    key = ("--header", f"X-API-KEY: {ADMIN_KEY}")
    report = check_contract(f"{program.url}/v3/api-docs", program.url, tmp_path, *key, settings=SETTINGS)
    assert "Operations:       23 selected" in report


def test_allow_names_every_method_of_a_path(program: SmsProcess) -> None:
    answer = program.http.delete("/secrets/web2")
    assert (answer.status_code, answer.headers["allow"]) == (405, "HEAD, POST, PUT")
