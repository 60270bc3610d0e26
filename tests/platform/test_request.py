from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adyton.enclave.manifest import Manifest, TrustedFile
from adyton.platform.client import LaunchRequest
from adyton.platform.simulated.request import RequestError, judge, parse
from adyton.runner.profile import Limits

_AGENT = "/.adyton/runtime/agent.py"


def _manifest(**changes: Any) -> Manifest:  # noqa: ANN401  # any field
    values: dict[str, Any] = {
        "name": "demo", "argv": ("a",), "runtime": (_AGENT,), "trusted_files": {_AGENT: TrustedFile("ab" * 32)},
        "host_environment": ("GREETING",), "host_paths": ("/data",), "volumes": {"in": "/in"},
    }  # fmt: skip
    return Manifest(**(values | changes))


_PLAIN = _manifest(config="none", volumes={})
_CAS = {"SCONE_CAS_ADDR": "cas.example:18765", "SCONE_CONFIG_ID": "session/app"}


def _judge(manifest: Manifest, **request: Any) -> Any:  # noqa: ANN401
    return judge(parse(LaunchRequest(layout=Path("/image"), **request).to_message()), manifest)


def test_what_the_manifest_allows_is_granted() -> None:
    grant = _judge(
        _manifest(),
        environment={**_CAS, "GREETING": "hi", "SCONE_HEAP": "1", "SCONE_LAS_ADDR": "las:18766", "SCONE_VERSION": "1"},
        volumes={"in": Path("/host/in")},
        host_paths={"/data": Path("/host/data")},
        limits=Limits(timeout_s=3.5, memory_bytes=1 << 20),
    )
    assert grant.host_environment == {"GREETING": "hi"}
    assert grant.config_id == "session/app"
    assert grant.cas == ("cas.example", 18765)
    assert grant.volumes == {"in": Path("/host/in")}
    assert grant.host_paths == {"/data": Path("/host/data")}
    assert grant.limits == Limits(timeout_s=3.5, memory_bytes=1 << 20)


def test_the_address_of_the_request_goes_first() -> None:
    assert _judge(_manifest(), environment=_CAS, cas_address="[::1]:1").cas == ("::1", 1)


def test_without_a_cas_arguments_are_granted() -> None:
    grant = _judge(_PLAIN, args=("--port", "1"))
    assert (grant.args, grant.cas, grant.config_id) == (("--port", "1"), None, "")


@pytest.mark.parametrize(
    ("manifest", "request_", "code", "named"),
    [
        pytest.param(_PLAIN, {"environment": {"OTHER": "x"}}, "environment", "OTHER", id="undeclared variable"),
        pytest.param(_PLAIN, {"environment": {"LD_PRELOAD": "x"}}, "environment", "LD_PRELOAD", id="code injection"),
        pytest.param(_PLAIN, {"environment": {"ADYTON_PLATFORM_FD": "1"}}, "environment", "ADYTON", id="our own name"),
        pytest.param(_PLAIN, {"environment": {"SCONE_CONFIG_ID": "s/a"}}, "config", "demo", id="session for none"),
        pytest.param(_manifest(), {"environment": {}}, "config", "SCONE_CONFIG_ID", id="no session"),
        pytest.param(_manifest(), {"environment": _CAS | {"SCONE_CONFIG_ID": "s"}}, "config", "", id="no service"),
        pytest.param(_manifest(), {"environment": _CAS | {"SCONE_CONFIG_ID": "a/b/c"}}, "config", "", id="three parts"),
        pytest.param(_manifest(), {"environment": _CAS | {"SCONE_CAS_ADDR": ""}}, "cas", "", id="no CAS"),
        pytest.param(_manifest(), {"environment": _CAS | {"SCONE_CAS_ADDR": "host"}}, "cas", "host", id="no port"),
        pytest.param(_manifest(), {"environment": _CAS | {"SCONE_CAS_ADDR": "h:99999"}}, "cas", "", id="port range"),
        pytest.param(_manifest(), {"environment": _CAS, "args": ("x",)}, "args", "demo", id="arguments with a CAS"),
        pytest.param(_PLAIN, {"volumes": {"in": Path("/x")}}, "volume", "in", id="unknown volume"),
        pytest.param(_PLAIN, {"host_paths": {"/etc": Path("/x")}}, "host_path", "/etc", id="undeclared host path"),
    ],
)
def test_refuses(manifest: Manifest, request_: dict[str, Any], code: str, named: str) -> None:
    with pytest.raises(RequestError) as caught:
        _judge(manifest, **request_)
    assert caught.value.code == f"platform.launch.{code}"
    assert named in caught.value.message


@pytest.mark.parametrize(
    "change",
    [
        {"op": "start"}, {"layout": 1}, {"environment": {"A": 1}}, {"environment": []}, {"args": "x"}, {"more": 1},
        {"limits": {"memory_bytes": -1}}, {"limits": {"processes": 1.5}}, {"limits": {"other": 1}},
        {"layout": "x" * 70_000},
    ],
    ids=str,
)  # fmt: skip
def test_malformed_messages_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        parse(LaunchRequest(layout=Path("/image")).to_message() | change)
    assert caught.value.code == "platform.launch.request"


@pytest.mark.parametrize("path", ["relative", "/with\0zero"])
def test_host_paths_are_absolute(path: str) -> None:
    message = LaunchRequest(layout=Path("/image")).to_message() | {"host_paths": {"/data": path}}
    with pytest.raises(RequestError) as caught:
        judge(parse(message), _PLAIN)
    assert caught.value.code == "platform.launch.path"
