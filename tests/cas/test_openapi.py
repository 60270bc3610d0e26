"""Both ports of a CAS process do what their OpenAPI documents say, whatever they are sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cas.house import House, Running
from tests.cas.process import CasProcess, cas_process, owner_files
from tests.platform.world import World
from tests.web.contract import check_contract

LIMITS = {"ADYTON_CAS_REFUSALS_PER_S": "100000"}
# What the document cannot say: which YAML is a session, and which certificate an enclave's.
SETTINGS = "[checks]\npositive_data_acceptance.enabled = false\n"


@pytest.fixture(scope="module")
def program(services: tuple[World, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[CasProcess]:
    world, url = services
    with cas_process(House(world, url, tmp_path_factory.mktemp("openapi")), **LIMITS) as running:
        yield running
        assert running.process.poll() is None
        assert "Traceback" not in running.log


def documented(cas: Running, port: int) -> dict[str, set[str]]:
    """Operations of a port's document: path to methods."""
    at = Running(cas.world, cas.database, cas.folder, port, port)
    with at.connect() as connection:
        document = json.loads(connection._exchange("GET", "/openapi.json", None, "")[1])
    return {path: set(members) for path, members in document["paths"].items()}


def test_the_documents_name_every_route(program: CasProcess) -> None:
    common = {
        "/attestation": {"get"},
        "/v1/collateral": {"get"},
        "/actuator/health": {"get"},
        "/actuator/prometheus": {"get"},
    }
    assert documented(program.cas, program.cas.rest_port) == common | {
        "/session": {"get", "post"},
        "/session/{name}": {"get"},
        "/ca": {"get"},
        "/admin/rotate-keys": {"post"},
        "/v1/session/{name}/upgrade": {"post", "delete"},
    }
    assert documented(program.cas, program.cas.attested_port) == common | {
        "/v1/nonce": {"get"},
        "/v1/config": {"post"},
        "/v1/enclave-key": {"post"},
    }


def test_the_rest_port_keeps_to_its_document(program: CasProcess, tmp_path: Path) -> None:
    certificate, key, root = owner_files(program.cas)
    identity = ("--request-cert", str(certificate), "--request-cert-key", str(key), "--tls-verify", str(root))
    report = check_contract(f"{program.cas.url}/openapi.json", program.cas.url, tmp_path, *identity, settings=SETTINGS)
    assert "Operations:       11 selected" in report


def test_the_attested_port_keeps_to_its_document(program: CasProcess, tmp_path: Path) -> None:
    certificate, key, _root = owner_files(program.cas, "stranger")
    identity = ("--request-cert", str(certificate), "--request-cert-key", str(key), "--tls-verify", "false")
    base = f"https://127.0.0.1:{program.cas.attested_port}"
    report = check_contract(f"{base}/openapi.json", base, tmp_path, *identity, settings=SETTINGS)
    assert "Operations:       7 selected" in report
