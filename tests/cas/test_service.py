"""Owners at the REST port: create, update, read, and what access policies allow."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cas.documents import APP, iexec_document, small_document, to_yaml
from tests.cas.house import House, Running

from adyton.base.errors import InputError, UnavailableError
from adyton.cas.client.operator import OperatorFiles, make_identity, open_client
from adyton.cas.client.owners import SessionClient
from adyton.cas.client.tls import CasRefusedError, TlsConnection, tcp, tls_context
from adyton.cas.face.identity import SERVER_NAME, CasIdentityError
from adyton.cas.language.session import from_document, session_hash

APP_ENCLAVE = bytes.fromhex(APP)


def code_of(call: Callable[..., Any], *arguments: Any) -> str:  # noqa: ANN401
    with pytest.raises(CasRefusedError) as caught:
        call(*arguments)
    return caught.value.code


def test_create_answers_name_and_hash(cas: Running) -> None:
    document = small_document(name="created")
    info = cas.owner().create(to_yaml(document))
    assert info.name == "created"
    assert re.fullmatch("[0-9a-f]{64}", info.hash)


def test_the_hash_can_be_recomputed_by_who_may_read(cas: Running) -> None:
    document = iexec_document()
    info = cas.owner().create(to_yaml(document))
    with cas.owner()._open() as connection:
        shown = connection.json("GET", f"/session/{document['name']}")
    assert session_hash(from_document(document), bytes.fromhex(shown["salt"])) == info.hash == shown["hash"]
    assert shown["creator"] == cas.key_hash("owner")
    assert from_document(shown["document"]) == from_document(document)


def test_posting_again_is_answered_like_the_first_time(cas: Running) -> None:
    document = to_yaml(small_document(name="again", secrets=[{"name": "s", "kind": "ascii"}]))
    first = cas.owner().create(document)
    assert cas.owner().create(document) == first
    assert code_of(cas.owner("other").create, document) == "cas.session.exists"


def test_update_needs_the_current_hash(cas: Running) -> None:
    owner = cas.owner()
    first = owner.create(to_yaml(small_document(name="updated")))
    assert code_of(owner.create, to_yaml(small_document(name="updated", version="0.3.1"))) == "cas.session.exists"
    changed = small_document(name="updated", version="0.3.1", predecessor=first.hash)
    second = owner.create(to_yaml(changed))
    assert second.hash != first.hash
    stale = small_document(name="updated", version="0.3.2", predecessor=first.hash)
    assert code_of(owner.create, to_yaml(stale)) == "cas.session.predecessor"
    shown = owner.show("updated")
    assert shown.hash == second.hash
    assert shown.document is not None
    assert shown.document["version"] == "0.3.1"


def test_update_keeps_material_that_did_not_change(cas: Running) -> None:
    owner = cas.owner()
    document = small_document(
        name="material",
        services=[
            {
                "name": "app",
                "image_name": "image",
                "mrenclaves": [APP],
                "environment": {"A": "$$SCONE::a$$", "B": "$$SCONE::b$$"},
            }
        ],
        images=[{"name": "image", "volumes": [{"name": "data", "path": "/data"}]}],
        volumes=[{"name": "data"}],
        secrets=[{"name": "a", "kind": "ascii"}, {"name": "b", "kind": "ascii"}],
    )
    first = owner.create(to_yaml(document))
    enclave = cas.enclave(cas.world.platform(APP_ENCLAVE))
    before = enclave.fetch("material", "app")
    document["predecessor"] = first.hash
    document["secrets"][1]["size"] = 40
    owner.create(to_yaml(document))
    after = enclave.fetch("material", "app")
    assert after.volumes["data"].key == before.volumes["data"].key
    assert after.environment["A"] == before.environment["A"]
    assert after.environment["B"] != before.environment["B"]
    assert (len(after.environment["A"]), len(after.environment["B"])) == (32, 40)


@pytest.mark.parametrize(
    ("update", "owner_may", "other_may"),
    [
        (["CREATOR"], True, False),
        (["NONE"], False, False),
        (["NONE", "CREATOR"], False, False),
        ([], False, False),
        (["ANY"], True, True),
        (["other"], False, True),
        (["CREATOR", "other"], True, True),
    ],
    ids=str,
)
def test_update_policy(cas: Running, update: list[str], owner_may: bool, other_may: bool) -> None:
    name = "update-" + "-".join(update)
    principals = [cas.key_hash("other") if entry == "other" else entry for entry in update]
    document = small_document(name=name, access_policy={"update": principals})
    current = cas.owner().create(to_yaml(document)).hash
    for who, allowed, version in (("owner", owner_may, "0.3.1"), ("other", other_may, "0.3.2")):
        changed = to_yaml({**document, "version": version, "predecessor": current})
        if allowed:
            current = cas.owner(who).create(changed).hash
        else:
            assert code_of(cas.owner(who).create, changed) == "cas.session.forbidden"


def test_an_update_does_not_change_the_creator(cas: Running) -> None:
    document = small_document(name="kept", access_policy={"update": ["ANY"], "read": ["CREATOR"]})
    first = cas.owner().create(to_yaml(document))
    cas.owner("other").create(to_yaml({**document, "version": "0.3.1", "predecessor": first.hash}))
    assert cas.owner().show("kept").name == "kept"
    assert code_of(cas.owner("other").show, "kept") == "cas.session.unknown"


@pytest.mark.parametrize(
    ("read", "owner_may", "other_may"),
    [(["CREATOR"], True, False), (["NONE"], False, False), (["ANY"], True, True), (["other"], False, True)],
    ids=str,
)
def test_read_policy(cas: Running, read: list[str], owner_may: bool, other_may: bool) -> None:
    name = "read-" + "-".join(read)
    principals = [cas.key_hash("other") if entry == "other" else entry for entry in read]
    cas.owner().create(to_yaml(small_document(name=name, access_policy={"read": principals})))
    for who, allowed in (("owner", owner_may), ("other", other_may)):
        if allowed:
            assert cas.owner(who).show(name).name == name
        else:
            assert code_of(cas.owner(who).show, name) == "cas.session.unknown"  # as if it did not exist


def test_values_of_secrets_are_never_shown(cas: Running) -> None:
    document = small_document(name="values", secrets=[{"name": "s", "kind": "ascii", "value": "value-canary"}])
    cas.owner().create(to_yaml(document))
    assert "value-canary" not in repr(cas.owner().show("values").document)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"name: [", "cas.session.yaml"),
        (b"name: a", "cas.session.invalid"),
        (to_yaml(small_document(expiry="2020-01-01T00:00:00Z")), "cas.session.invalid"),
        (to_yaml(small_document(services=[{"name": "a", "mrenclaves": [APP], "command": "$$SCONE::x$$"}])),
         "cas.session.invalid"),
        (to_yaml(small_document(name="orphan", predecessor="00" * 32)), "cas.session.unknown"),
    ],
    ids=["yaml", "model", "expiry", "template", "predecessor of nothing"],
)  # fmt: skip
def test_refused_documents(cas: Running, document: bytes, code: str) -> None:
    assert code_of(cas.owner().create, document) == code


def test_a_document_over_the_limit_is_refused(cas: Running) -> None:
    with pytest.raises((CasRefusedError, UnavailableError)):
        cas.owner().create(b"# " + b"x" * (2 << 20))
    assert cas.owner().create(to_yaml(small_document(name="after-large"))).name == "after-large"


def test_without_a_client_certificate(cas: Running) -> None:
    with TlsConnection(tcp("127.0.0.1", cas.rest_port), tls_context(), SERVER_NAME) as connection:
        with pytest.raises(CasRefusedError) as caught:
            connection.json("GET", "/session/any")
        assert (caught.value.code, caught.value.status) == ("cas.client.certificate", 401)
        assert "BEGIN CERTIFICATE" in connection.text("/ca")


def test_enclaves_get_nothing_at_the_rest_port(cas: Running) -> None:
    with TlsConnection(tcp("127.0.0.1", cas.rest_port), tls_context(), SERVER_NAME) as connection:
        with pytest.raises(CasRefusedError) as caught:
            connection.json("POST", "/v1/config", b"{}")
        assert caught.value.status == 404


@pytest.mark.parametrize("nonce", ["", "xyz", "00" * 15, "00" * 65])
def test_nonces_for_attestation_have_bounds(cas: Running, nonce: str) -> None:
    with (
        TlsConnection(tcp("127.0.0.1", cas.rest_port), tls_context(), SERVER_NAME) as connection,
        pytest.raises(CasRefusedError) as caught,
    ):
        connection.json("GET", f"/attestation?nonce={nonce}")
    assert (caught.value.code, caught.value.status) == ("cas.request.nonce", 400)


def test_a_client_with_another_root_does_not_talk(cas: Running, house: House) -> None:
    with house.open("second") as second:
        second.owner("second-owner")
        foreign = OperatorFiles(second.folder / "second-owner").root
    make_identity(cas.folder / "owner")
    files = OperatorFiles(cas.folder / "owner")
    client = SessionClient(cas.url, files.certificate, files.key, foreign)
    with pytest.raises(CasIdentityError):
        client.show("any")


def test_a_service_identity_cannot_play_the_cas(cas: Running) -> None:
    """A certificate that the CAS issued to an enclave has no DNS name, so clients of the REST port refuse it."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415
    from tests.cas.serving import serving  # noqa: PLC0415

    from adyton.web.peercert import server_context, tls_protocol  # noqa: PLC0415

    cas.owner().create(to_yaml(small_document(name="impostor")))
    part = cas.enclave(cas.world.platform(APP_ENCLAVE)).fetch("impostor", "app")
    key = load_pem_private_key(part.private_key.reveal(), None)
    context = server_context(x509.load_pem_x509_certificate(part.certificate.encode()), key)  # type: ignore[arg-type]

    async def nothing(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        raise AssertionError((scope, receive, send))

    cas.owner()
    with serving(nothing, tls_protocol(lambda: context)) as port:
        client = open_client(f"https://127.0.0.1:{port}", cas.folder / "owner")
        with pytest.raises(CasIdentityError):
            client.show("any")


def test_quota(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    original = house.settings
    monkeypatch.setattr(
        House, "settings", lambda _self, database: original(database).model_copy(update={"sessions_per_creator": 2})
    )
    with house.open() as cas:
        for name in ("a", "b"):
            cas.owner().create(to_yaml(small_document(name=name)))
        assert code_of(cas.owner().create, to_yaml(small_document(name="c"))) == "cas.session.quota"
        assert cas.owner("other").create(to_yaml(small_document(name="c"))).name == "c"


def test_a_missing_client_certificate_file_is_an_input_error(cas: Running, tmp_path: Path) -> None:
    client = SessionClient(cas.url, tmp_path / "none.pem", tmp_path / "none.key", tmp_path / "ca.pem")
    with pytest.raises(InputError):
        client.show("any")


def test_the_list_is_of_ones_own_sessions(house: House) -> None:
    soon = {"expiry": "2999-01-01T00:00:00Z"}
    with house.open() as cas:
        hashes = {}
        sessions: dict[str, dict[str, Any]] = {"a": {}, "b": soon, "closed": {"access_policy": {"read": ["NONE"]}}}
        for name, changes in sessions.items():
            hashes[name] = cas.owner().create(to_yaml(small_document(name=name, **changes))).hash
        cas.owner("other").create(to_yaml(small_document(name="c", access_policy={"read": ["ANY"]})))
        found = {info.name: info for info in cas.owner().list()}
        assert {name: info.hash for name, info in found.items()} == {name: hashes[name] for name in ("a", "b")}
        assert (found["a"].expiry, found["b"].expiry) == (None, soon["expiry"])
        assert found["a"].version == 1
        assert [info.name for info in cas.owner("other").list()] == ["c"]
        assert list(cas.owner("nobody").list()) == []


def test_a_long_list_comes_in_pages(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adyton.cas.service.PAGE", 2)
    with house.open() as cas:
        names = {f"s{number}" for number in range(6)}
        for name in names:
            cas.owner().create(to_yaml(small_document(name=name)))
        found = [info.name for info in cas.owner().list()]
        assert len(found) == len(names)
        assert set(found) == names


def test_the_list_needs_a_client_certificate(cas: Running) -> None:
    with TlsConnection(tcp("127.0.0.1", cas.rest_port), tls_context(), SERVER_NAME) as connection:
        with pytest.raises(CasRefusedError) as caught:
            connection.json("GET", "/session")
        assert (caught.value.code, caught.value.status) == ("cas.client.certificate", 401)


def test_a_session_cannot_ask_for_a_root_that_the_cas_does_not_accept(cas: Running) -> None:
    for tiers in (["intel"], [cas.world.anchor.tier, "intel"], ["sim:" + "0" * 64]):
        document = small_document(name="wide", security={"attestation": {"tiers": tiers}})
        with pytest.raises(CasRefusedError, match=r"security\.attestation\.tiers\[\d\]: this CAS does not") as caught:
            cas.owner().create(to_yaml(document))
        assert caught.value.code == "cas.session.invalid"


def test_a_refused_document_is_on_record_without_what_it_says(house: House) -> None:
    with house.open() as cas:
        document = small_document(name="canary-name", services=[{"name": "a", "mrenclaves": [APP], "canary": 1}])
        assert code_of(cas.owner().create, to_yaml(document)) == "cas.session.invalid"
        files = b"".join(path.read_bytes() for path in cas.database.iterdir() if path.is_file())
        assert b"session.put" in files
        assert b"cas.session.invalid" in files
        assert b"canary" not in files
