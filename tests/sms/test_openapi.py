"""Every operation of the OpenAPI document under generated requests: only documented answers, never one of failure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sms.support import APP, DATASET, REQUESTER, TASK_ID, Service, authorization, running
from tests.sms.test_admin import FolderArchive

from adyton.sms import recipes

KEY = "the-operators-key"
METHODS = ("get", "head", "post", "put", "delete")


@dataclass(frozen=True)
class Operation:
    """One operation of the document."""

    method: str
    path: str
    document: dict[str, Any]


@dataclass(frozen=True)
class Api:
    """A service and its document."""

    service: Service
    operations: list[Operation]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder: Path = tmp_path_factory.mktemp("openapi")
    location = folder / "backups"
    location.mkdir()
    limits: dict[str, Any] = {"requests_per_s": 100_000, "contract_checks_per_s": 100_000}
    admin: dict[str, Any] = {"admin_api_key": KEY, "admin_storage_location": location}
    with running(folder, archive=FolderArchive(), **limits, **admin) as service:
        document = service.http.get("/v3/api-docs").json()
        operations = [
            Operation(method, path, found)
            for path, members in document["paths"].items()
            for method, found in members.items()
            if method in METHODS
        ]
        yield Api(service, operations)


good = recipes.sign(recipes.web2_challenge(REQUESTER.address, "n", "v"), REQUESTER)
texts = st.one_of(
    st.text(max_size=40),
    st.sampled_from([APP, DATASET, REQUESTER.address, TASK_ID, "n", "scone", "tdx", "v1", "1", " ", "..", "\0"]),
    st.binary(max_size=40).map(lambda raw: "0x" + raw.hex()),
    st.binary(max_size=40).map(lambda raw: raw.hex()),
)
bodies = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"v", b"{}", authorization("0x" + "ee" * 20).model_dump_json(by_alias=True).encode()]),
)
headers = st.one_of(st.none(), st.just(good), texts.map(lambda text: text.encode("ascii", "ignore").decode().strip()))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_only_documented_answers(api: Api, data: st.DataObject) -> None:
    operation = data.draw(st.sampled_from(api.operations), label="operation")
    path, query = operation.path, {}
    for parameter in operation.document.get("parameters", ()):
        if parameter["in"] == "path":
            value = data.draw(
                texts.filter(lambda text: "/" not in text and text not in {"", ".", ".."}), label=parameter["name"]
            )
            path = path.replace(f"{{{parameter['name']}}}", quote(value, safe=""))
        elif parameter.get("required") or data.draw(st.booleans()):
            query[parameter["name"]] = data.draw(texts, label=parameter["name"])
    sent = {}
    if path.startswith("/admin") and data.draw(st.booleans()):
        sent["X-API-KEY"] = KEY
    signature = data.draw(headers, label="signature")
    if signature is not None and signature.isprintable():
        sent["Authorization"] = signature
    body = data.draw(bodies, label="body") if operation.method in {"post", "put"} else None
    answer = api.service.http.request(operation.method.upper(), path, params=query, headers=sent, content=body)
    assert str(answer.status_code) in operation.document["responses"], answer.text
    # a storage folder that is none is officially 500; a session that cannot be made, too
    assert answer.status_code < 500 or path.startswith(("/admin/", "/tee/sessions")), answer.text
