"""The session language: what is accepted, what is refused and where, and the hash."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cas.documents import APP, iexec_document, small_document, to_yaml

from adyton.cas.language.session import SessionError, from_document, parse_session, session_hash

Change = Callable[[dict[str, Any]], None]


def test_the_sms_session_is_accepted_and_comes_back_equal() -> None:
    document = iexec_document()
    session = parse_session(to_yaml(document))
    assert [service.name for service in session.services] == ["pre-compute", "app", "post-compute"]
    app = session.service("app")
    assert app is not None
    image = session.image_of(app)
    assert image is not None
    assert [mount.path for mount in image.volumes] == ["/iexec_in", "/iexec_out"]
    assert from_document(session.to_document()) == session


def test_defaults_are_closed() -> None:
    session = from_document(small_document())
    assert session.access_policy.read == ("CREATOR",)
    assert session.access_policy.update == ("CREATOR",)
    assert session.security.attestation.tolerate == ()
    assert session.security.attestation.ignore_advisories == ()
    assert session.expires_at is None


def test_expiry_is_utc() -> None:
    session = from_document(small_document(expiry="2027-01-31T01:00:00+01:00"))
    assert session.expires_at == datetime(2027, 1, 31, tzinfo=UTC)


def _set(*path: str | int, value: Any) -> Change:  # noqa: ANN401
    def change(document: dict[str, Any]) -> None:
        target: Any = document
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = value

    return change


def _drop(*path: str | int) -> Change:
    def change(document: dict[str, Any]) -> None:
        target: Any = document
        for part in path[:-1]:
            target = target[part]
        del target[path[-1]]

    return change


REFUSED: dict[str, tuple[Change, str]] = {
    "unknown key": (_set("acess_policy", value={}), "acess_policy"),
    "unknown key in a service": (_set("services", 1, "mrenclave", value=[APP]), "services[1].mrenclave"),
    "unknown key in attestation": (
        _set("security", "attestation", "tolerated", value=[]),
        "security.attestation.tolerated",
    ),
    "no name": (_drop("name"), "name"),
    "name with a slash": (_set("name", value="a/b"), "name"),
    "name with a line break": (_set("name", value="a\n"), "name"),
    "other language": (_set("version", value="0.4"), "version"),
    "version as a number": (_set("version", value=3), "version"),
    "no services": (_set("services", value=[]), "services"),
    "services as a mapping": (_set("services", value={}), "services"),
    "no measurement": (_set("services", 0, "mrenclaves", value=[]), "services[0].mrenclaves"),
    "measurement too short": (_set("services", 0, "mrenclaves", 0, value="11" * 31), "services[0].mrenclaves[0]"),
    "measurement with 0x": (_set("services", 0, "mrenclaves", 0, value="0x" + "1" * 62), "services[0].mrenclaves[0]"),
    "measurement as a number": (_set("services", 0, "mrenclaves", 0, value=5), "services[0].mrenclaves[0]"),
    "measurement twice": (_set("services", 0, "mrenclaves", value=[APP, APP.upper()]), "services[0].mrenclaves"),
    "environment as a list": (_set("services", 0, "environment", value=["A=b"]), "services[0].environment"),
    "environment value as a number": (_set("services", 0, "environment", "A", value=1), "services[0].environment.A"),
    "environment value as a flag": (_set("services", 0, "environment", "A", value=True), "services[0].environment.A"),
    "environment value with NUL": (_set("services", 0, "environment", "A", value="\0"), "services[0].environment.A"),
    "environment name with =": (_set("services", 0, "environment", "A=B", value=""), "services[0].environment['A=B']"),
    "command as a list": (_set("services", 0, "command", value=["a"]), "services[0].command"),
    "relative pwd": (_set("services", 0, "pwd", value="app"), "services[0].pwd"),
    "service twice": (_set("services", 0, "name", value="app"), "services[1].name"),
    "unknown image": (_set("services", 2, "image_name", value="other"), "services[2].image_name"),
    "unknown volume": (_set("images", 1, "volumes", 1, "name", value="other"), "images[1].volumes[1].name"),
    "mount on the root": (_set("images", 0, "volumes", 0, "path", value="/"), "images[0].volumes[0].path"),
    "mount with ..": (_set("images", 0, "volumes", 0, "path", value="/a/../b"), "images[0].volumes[0].path"),
    "mount with //": (_set("images", 0, "volumes", 0, "path", value="//a"), "images[0].volumes[0].path"),
    "path mounted twice": (_set("images", 1, "volumes", 1, "path", value="/iexec_in"), "images[1].volumes[1].path"),
    "volume twice": (_set("volumes", 1, "name", value="iexec_in"), "volumes[1].name"),
    "volume key from outside": (_set("volumes", 0, "key", value="00" * 32), "volumes[0].key"),
    "unknown secret kind": (_set("secrets", value=[{"name": "a", "kind": "aad-token"}]), "secrets[0]"),
    "binary size": (_set("secrets", value=[{"name": "a", "kind": "binary", "size": 0}]), "secrets[0].size"),
    "common name of a given certificate": (
        _set("secrets", value=[{"name": "a", "kind": "x509", "value": "x", "common_name": "y"}]),
        "secrets[0]",
    ),
    "issuer that is none": (
        _set("secrets", value=[{"name": "b", "kind": "x509"}, {"name": "a", "kind": "x509", "issuer": "b"}]),
        "secrets[1].issuer",
    ),
    "issuer without its key": (
        _set(
            "secrets",
            value=[{"name": "b", "kind": "x509-ca", "value": "x"}, {"name": "a", "kind": "x509", "issuer": "b"}],
        ),
        "secrets[1].issuer",
    ),
    "key of an authority": (
        _set("secrets", value=[{"name": "a", "kind": "x509-ca", "private_key": "a"}]),
        "secrets[0].private_key",
    ),
    "more given keys than are checked in time": (
        _set("secrets", value=[{"name": f"k{n}", "kind": "private-key", "value": "x"} for n in range(9)]),
        "secrets",
    ),
    "more certificates than are made in time": (
        _set("secrets", value=[{"name": f"c{n}", "kind": "x509"} for n in range(33)]),
        "secrets",
    ),
    "no activations": (_set("services", 0, "max_activations", value=0), "services[0].max_activations"),
    "activations as text": (_set("services", 0, "max_activations", value="1"), "services[0].max_activations"),
    "environment named like a kind": (
        _set("services", 0, "environment", "ascii", value=1),
        "services[0].environment.ascii",
    ),
    "tier": (
        _set("security", "attestation", "tiers", value=["intel", "sim:none"]),
        "security.attestation.tiers[1]",
    ),
    "tier twice": (_set("security", "attestation", "tiers", value=["intel", "intel"]), "security.attestation.tiers"),
    "expiry beyond what UTC can say": (_set("expiry", value="0001-01-01T00:00:00+23:59"), "expiry"),
    "key of a certificate": (
        _set("secrets", value=[{"name": "a", "kind": "x509", "private_key": "b"}]),
        "secrets[0].private_key",
    ),
    "principal": (_set("access_policy", "read", value=["EVERYBODY"]), "access_policy.read[0]"),
    "tolerate": (
        _set("security", "attestation", "tolerate", value=["debug-mode", "debug"]),
        "security.attestation.tolerate[1]",
    ),
    "advisory": (
        _set("security", "attestation", "ignore_advisories", value=["SA-1"]),
        "security.attestation.ignore_advisories[0]",
    ),
    "mode none": (_set("security", "attestation", "mode", value="none"), "security.attestation.mode"),
    "expiry without a zone": (_set("expiry", value="2027-01-31T00:00:00"), "expiry"),
    "expiry as a number": (_set("expiry", value=1800000000), "expiry"),
    "predecessor": (_set("predecessor", value="abc"), "predecessor"),
}


@pytest.mark.parametrize(("change", "path"), REFUSED.values(), ids=REFUSED)
def test_refused_with_the_path(change: Change, path: str) -> None:
    document = iexec_document()
    change(document)
    with pytest.raises(SessionError) as caught:
        from_document(document)
    assert caught.value.path == path
    assert caught.value.code == "cas.session.invalid"


@pytest.mark.parametrize("document", [None, 1, "text", [], [{}]])
def test_what_is_no_mapping_is_refused(document: object) -> None:
    with pytest.raises(SessionError):
        from_document(document)


def test_no_value_gets_into_messages_or_representations() -> None:
    canary = "canary-5e1f"
    document = iexec_document()
    document["services"][0]["environment"]["A"] = canary + "\0"
    document["secrets"] = [{"name": "a", "kind": "ascii", "value": canary, "sise": 3}]
    with pytest.raises(SessionError) as caught:
        from_document(document)
    assert canary not in str(caught.value)
    del document["services"][0]["environment"]["A"]
    del document["secrets"][0]["sise"]
    session = from_document(document)
    assert canary not in repr(session)
    assert "developer-canary" not in repr(session)


def test_the_hash_depends_on_everything_and_on_the_salt() -> None:
    salt = bytes(16)
    base = session_hash(from_document(iexec_document()), salt)
    assert base == session_hash(parse_session(to_yaml(iexec_document())), salt)
    changed = iexec_document()
    changed["services"][1]["environment"]["IEXEC_APP_DEVELOPER_SECRET"] = "developer-canarz"
    assert session_hash(from_document(changed), salt) != base
    assert session_hash(from_document(iexec_document()), b"\1" + bytes(15)) != base


def test_the_hash_vector() -> None:
    """Fixed: a change of the recipe breaks every stored predecessor."""
    session = from_document(small_document())
    assert session_hash(session, bytes(16)) == "58bffd51cac25dbceedfbecb396dc808627bba4df1e8e423d3cf9f6db810f666"


def test_members_that_came_later_change_the_hash_only_where_they_are_used() -> None:
    document = iexec_document()
    document["secrets"] = [{"name": "c", "kind": "x509"}]
    plain = from_document(document).to_document()
    assert "max_activations" not in plain["services"][0]
    assert "tiers" not in plain["security"]["attestation"]
    assert not {"issuer", "value"} & set(plain["secrets"][0])
    for change in (
        _set("services", 0, "max_activations", value=3),
        _set("security", "attestation", "tiers", value=["intel"]),
        _set("secrets", 0, "value", value="x"),
    ):
        changed = copy.deepcopy(document)
        change(changed)
        session = from_document(changed)
        assert session_hash(session, bytes(16)) != session_hash(from_document(document), bytes(16))
        assert from_document(session.to_document()) == session


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["name", "version", "services", "images", "volumes", "secrets", "security", "access_policy"]),
)
def test_arbitrary_values_are_accepted_or_refused_in_order(value: Any, key: str) -> None:  # noqa: ANN401
    document = copy.deepcopy(iexec_document())
    document[key] = value
    try:
        session = from_document(document)
    except SessionError:
        return
    assert from_document(session.to_document()) == session
