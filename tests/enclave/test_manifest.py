from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adyton.enclave.errors import ManifestError
from adyton.enclave.manifest import CasPolicy, Manifest, TrustedFile, TrustedLink, is_plain_path
from adyton.enclave.successors import MAX_APPROVERS, UpgradePolicy

_AGENT = "/.adyton/runtime/agent.py"
_FILES = {
    _AGENT: TrustedFile("ab" * 32),
    "/bin/sh": TrustedFile("cd" * 32, executable=True),
    "/sh": TrustedLink("bin/sh"),
}


def _manifest(**changes: Any) -> Manifest:  # noqa: ANN401  # any field
    return Manifest(
        **({"name": "demo", "argv": ("run", "it"), "runtime": (_AGENT,), "trusted_files": _FILES} | changes)
    )


_WITH_LIBRARY: dict[str, Any] = {"trusted_files": {**_FILES, "/usr/lib/x": TrustedFile("ab" * 32)}}


def test_the_host_may_replace_a_single_file_and_fill_an_empty_folder() -> None:
    manifest = _manifest(host_paths=("/usr/lib/x", "/us", "/usr/lib/y", "/usr/lib/x.d"), **_WITH_LIBRARY)
    assert Manifest.from_json(manifest.to_json()) == manifest


def _full() -> Manifest:
    return _manifest(
        cwd="/app",
        environment={"A": "1"},
        host_environment=("B",),
        host_paths=("/etc/hosts",),
        volumes={"iexec_in": "/iexec_in"},
        network=True,
        debug=True,
        isvprodid=7,
        isvsvn=65535,
        cas=CasPolicy("sim:" + "00" * 32, ("11" * 32,)),
        anchors=("intel",),
        tmpfs={"/tmp": 4096},
    )


_CLOSED: dict[str, Any] = {"closed": True, "cas": CasPolicy("intel", ("11" * 32,))}


def test_a_manifest_without_approvers_is_what_it_was_before_there_could_be_any() -> None:
    manifest = _manifest(**_CLOSED)
    assert b"upgrade" not in manifest.to_json()
    stated = json.loads(manifest.to_json()) | {"upgrade": None}
    with pytest.raises(ManifestError) as caught:
        Manifest.from_json(json.dumps(stated, sort_keys=True, separators=(",", ":")).encode())
    assert caught.value.code == "enclave.manifest.canonical"


def test_approvers_are_measured() -> None:
    one, two = (_manifest(**_CLOSED, upgrade=UpgradePolicy(("aa" * 32, "bb" * 32), number)) for number in (1, 2))
    assert len({_manifest(**_CLOSED).to_json(), one.to_json(), two.to_json()}) == 3
    assert Manifest.from_json(two.to_json()).upgrade == UpgradePolicy(("aa" * 32, "bb" * 32), 2)


@pytest.mark.parametrize(
    "upgrade",
    [
        pytest.param({"approvers": [], "threshold": 0}, id="nobody"),
        pytest.param({"approvers": ["aa" * 32], "threshold": 0}, id="no approval needed"),
        pytest.param({"approvers": ["aa" * 32], "threshold": 2}, id="more than there are"),
        pytest.param({"approvers": ["aa" * 32], "threshold": True}, id="a truth value"),
        pytest.param({"approvers": ["aa" * 32], "threshold": "1"}, id="a text"),
        pytest.param({"approvers": ["bb" * 32, "aa" * 32], "threshold": 1}, id="out of order"),
        pytest.param({"approvers": ["aa" * 32, "aa" * 32], "threshold": 1}, id="one twice"),
        pytest.param({"approvers": ["AA" * 32], "threshold": 1}, id="capital letters"),
        pytest.param({"approvers": ["aa" * 31], "threshold": 1}, id="too short"),
        pytest.param({"approvers": [1], "threshold": 1}, id="a number"),
        pytest.param({"approvers": "aa" * 32, "threshold": 1}, id="not a list"),
        pytest.param({"approvers": [f"{i:064x}" for i in range(MAX_APPROVERS + 1)], "threshold": 1}, id="too many"),
        pytest.param({"approvers": ["aa" * 32]}, id="no threshold"),
        pytest.param({"approvers": ["aa" * 32], "threshold": 1, "more": 1}, id="an unknown member"),
        pytest.param([], id="a list"),
    ],
)
def test_wrong_upgrade_policies_are_refused(upgrade: Any) -> None:  # noqa: ANN401  # any JSON
    document = json.loads(_manifest(**_CLOSED).to_json()) | {"upgrade": upgrade}
    with pytest.raises(ManifestError):
        Manifest.from_json(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


def test_only_a_closed_manifest_has_approvers() -> None:
    with pytest.raises(ManifestError):
        _manifest(upgrade=UpgradePolicy(("aa" * 32,), 1))


def test_a_member_that_is_left_out_at_its_value_has_one_form_only() -> None:
    assert "evidence" not in json.loads(_manifest(**_CLOSED).to_json())
    said = _manifest(**_CLOSED, evidence=True).to_json()
    assert json.loads(said)["evidence"] is True
    assert Manifest.from_json(said).evidence
    for value in (False, 1, None):
        document = json.loads(said) | {"evidence": value}
        with pytest.raises(ManifestError):
            Manifest.from_json(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize("manifest", [_manifest(), _full(), _manifest(config="none")])
def test_round_trip(manifest: Manifest) -> None:
    data = manifest.to_json()
    assert Manifest.from_json(data) == manifest
    assert Manifest.from_json(data).to_json() == data


def test_equal_values_give_equal_bytes_whatever_their_order() -> None:
    reordered = _manifest(trusted_files=dict(reversed(_FILES.items())))
    assert reordered.to_json() == _manifest().to_json()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"name": ""}, id="no name"),
        pytest.param({"evidence": True}, id="evidence for whatever a session says"),
        pytest.param({"runtime": ()}, id="no runtime"),
        pytest.param({"runtime": ("/bin/other",)}, id="runtime is not a trusted file"),
        pytest.param({"argv": (), "config": "none"}, id="no command from anywhere"),
        pytest.param({"argv": ("a\0b",)}, id="zero byte in an argument"),
        pytest.param({"cwd": "app"}, id="relative working folder"),
        pytest.param({"config": "maybe"}, id="unknown configuration source"),
        pytest.param({"environment": {"1A": "x"}}, id="bad variable name"),
        pytest.param({"environment": {"A": "x\0"}}, id="zero byte in a variable"),
        pytest.param({"host_environment": ("LD_PRELOAD",)}, id="host chooses code to load"),
        pytest.param({"host_environment": ("A=B",)}, id="host variable with an equals sign"),
        pytest.param({"host_paths": ("/a/../b",)}, id="host path with dots"),
        pytest.param({"host_paths": ("/proc/x",)}, id="host path in proc"),
        pytest.param({"host_paths": ("/.adyton/runtime",)}, id="host path over the agent"),
        pytest.param({"host_paths": ("/usr",), **_WITH_LIBRARY}, id="host folder over measured files"),
        pytest.param({"host_paths": ("/a", "/usr/lib"), **_WITH_LIBRARY}, id="host folder deep over measured files"),
        pytest.param(
            {"host_paths": ("/usr/lib/x",), "runtime": ("/usr/lib/x",), **_WITH_LIBRARY}, id="host file over the agent"
        ),
        pytest.param({"volumes": {"v": "/"}}, id="volume at the root"),
        pytest.param({"volumes": {"../v": "/v"}}, id="volume name that is a path"),
        pytest.param({"volumes": {"v": "/v"}, "config": "none"}, id="volume without a key source"),
        pytest.param({"volumes": {"v": "/v", "w": "/v"}}, id="two volumes at one place"),
        pytest.param({"tmpfs": {"/bin/sh": 4096}}, id="tmpfs over a file"),
        pytest.param({"tmpfs": {"/t": 1}}, id="tmpfs too small"),
        pytest.param({"heap_bytes": 5000}, id="heap not in pages"),
        pytest.param({"heap_bytes": 1 << 40}, id="heap too large"),
        pytest.param({"threads": 0}, id="no thread"),
        pytest.param({"threads": 256, "stack_bytes": 64 << 20}, id="stacks that take half a minute to measure"),
        pytest.param({"isvprodid": 65536}, id="product beyond u16"),
        pytest.param({"isvsvn": -1}, id="negative version"),
        pytest.param({"anchors": ("sim:xyz",)}, id="malformed anchor"),
        pytest.param({"cas": CasPolicy("intel", ())}, id="CAS that nothing fulfils"),
        pytest.param({"cas": CasPolicy("intel", ("11",))}, id="short CAS measurement"),
        pytest.param({"trusted_files": {**_FILES, "rel": TrustedFile("ab" * 32)}}, id="relative file"),
        pytest.param({"trusted_files": {**_FILES, "/x": TrustedFile("AB" * 32)}}, id="upper case digest"),
        pytest.param({"trusted_files": {**_FILES, "/.adyton/manifest.json": TrustedFile("ab" * 32)}}, id="itself"),
    ],
)
def test_refuses_values(change: dict[str, Any]) -> None:
    with pytest.raises(ManifestError):
        _manifest(**change)


def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_full().to_json())
    return document


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"extra": 1}, "enclave.manifest.invalid", id="unknown member"),
        pytest.param({"network": None}, "enclave.manifest.invalid", id="missing type"),
        pytest.param({"threads": True}, "enclave.manifest.invalid", id="boolean for a number"),
        pytest.param({"threads": 4.0}, "enclave.manifest.invalid", id="float"),
        pytest.param({"argv": "run it"}, "enclave.manifest.invalid", id="text for a list"),
        pytest.param({"argv": [1]}, "enclave.manifest.invalid", id="number in a list of texts"),
        pytest.param({"cas": {"anchor": "intel"}}, "enclave.manifest.invalid", id="CAS without measurements"),
        pytest.param({"cas": "intel"}, "enclave.manifest.invalid", id="CAS as text"),
        pytest.param({"trusted_files": {"/x": {"sha256": "ab" * 32}}}, "enclave.manifest.invalid", id="half an entry"),
        pytest.param({"trusted_files": {"/x": {"link": 3}}}, "enclave.manifest.invalid", id="link that is a number"),
        pytest.param({"format": "adyton-enclave-2"}, "enclave.manifest.format", id="later format"),
    ],
)
def test_refuses_documents(change: dict[str, Any], code: str) -> None:
    data = json.dumps(_document() | change, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(ManifestError) as caught:
        Manifest.from_json(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="deep nesting"),
        pytest.param(json.dumps(_document(), indent=1).encode(), id="not canonical"),
        pytest.param(_full().to_json() + b"\n", id="a byte too many"),
        pytest.param(b" " * ((32 << 20) + 1), id="too large"),
    ],
)
def test_refuses_bytes(data: bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_json(data)


@pytest.mark.parametrize(
    ("path", "plain"),
    [("/a", True), ("/a/b.c", True), ("a", False), ("/", False), ("/a/", False), ("//a", False), ("/a/./b", False)],
)
def test_plain_paths(path: str, plain: bool) -> None:
    assert is_plain_path(path) is plain


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401  # JSON is any
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, inner in items for place in _places(inner, (*path, key)))]


@given(data=st.data(), value=_JSON)
@settings(max_examples=400, deadline=None)
def test_whatever_stands_in_a_document_it_is_refused_or_one_canonical_text(data: st.DataObject, value: object) -> None:
    document = _document()
    *parents, last = data.draw(st.sampled_from(_places(document)[1:]))
    node: Any = document
    for key in parents:
        node = node[key]
    node[last] = value
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        manifest = Manifest.from_json(text)
    except ManifestError:
        return
    assert manifest.to_json() == text
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_every_truncation_is_refused() -> None:
    data = _full().to_json()
    for size in range(len(data)):
        with pytest.raises(ManifestError):
            Manifest.from_json(data[:size])


@given(offset=st.integers(0, len(_full().to_json()) - 1), byte=st.integers(0, 255))
@settings(max_examples=400, deadline=None)
def test_a_changed_byte_is_refused_or_another_manifest(offset: int, byte: int) -> None:
    data = bytearray(_full().to_json())
    before = data[offset]
    data[offset] = byte
    try:
        manifest = Manifest.from_json(bytes(data))
    except ManifestError:
        return
    assert manifest.to_json() == data
    assert (manifest == _full()) is (byte == before)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'"name":"\\ud800"', id="half a surrogate pair"),
        pytest.param(b'"name":"a","name":"demo"', id="a member twice"),
        pytest.param(b'"name":NaN', id="not a number"),
    ],
)
def test_json_that_is_none_for_others(text: bytes) -> None:
    data = _full().to_json()
    assert b'"name":"demo"' in data
    with pytest.raises(ManifestError):
        Manifest.from_json(data.replace(b'"name":"demo"', text))
