"""The rules of release, without network or database."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.cas.documents import APP, PRE, iexec_document, small_document
from tests.platform.world import World

from adyton.attestation.anchors import INTEL, TrustAnchor
from adyton.attestation.errors import AttestationError
from adyton.attestation.evidence import require_enclave
from adyton.attestation.policy import Weakness
from adyton.base.errors import AdytonError
from adyton.cas.language.session import Service, from_document
from adyton.cas.releasing.material import Material, make_material
from adyton.cas.releasing.release import check_measurement, configuration, find_service, policy_of, refusal
from adyton.cas.store.repo import StoredSession

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SIMULATED = TrustAnchor("sim:" + "ab" * 32)
MRENCLAVE = b"\x11" * 32


def stored(document: dict[str, Any]) -> StoredSession:
    session = from_document(document)
    return StoredSession(session, "0" * 64, bytes(16), 1, make_material(session, NOW, None, Material()))


def test_find_service() -> None:
    kept = stored(small_document(expiry=(NOW + timedelta(hours=1)).isoformat()))
    assert find_service(kept, "app", NOW)[1].name == "app"


@pytest.mark.parametrize(
    ("kept", "service", "now", "code"),
    [
        (None, "app", NOW, "cas.session.unknown"),
        (stored(small_document()), "other", NOW, "cas.session.service_unknown"),
        (stored(small_document()), "", NOW, "cas.session.service_unknown"),
        (stored(small_document(expiry=NOW.isoformat())), "app", NOW, "cas.session.expired"),
        (stored(small_document(expiry=NOW.isoformat())), "other", NOW, "cas.session.expired"),
    ],
    ids=["no session", "no service", "empty service", "expired", "expired before the service is looked at"],
)
def test_nothing_to_find(kept: StoredSession | None, service: str, now: datetime, code: str) -> None:
    with pytest.raises(AdytonError) as caught:
        find_service(kept, service, now)
    assert caught.value.code == code


def test_the_policy_is_the_services_measurements_and_the_sessions_tolerance_under_our_anchors() -> None:
    kept = stored(iexec_document())
    service = kept.session.service("app")
    assert service is not None
    policy = policy_of(kept, service, [SIMULATED])
    assert policy.mrenclaves == {bytes.fromhex(APP)}
    assert policy.anchors == (SIMULATED,)
    assert policy.tolerate == {Weakness.HYPERTHREADING, Weakness.OUTDATED_TCB, Weakness.SOFTWARE_HARDENING_NEEDED}
    assert policy.ignore_advisories == {"INTEL-SA-00161", "INTEL-SA-00289"}
    assert policy_of(kept, service, [INTEL, SIMULATED]).anchors == (INTEL, SIMULATED)


def test_a_session_accepts_fewer_anchors_never_more() -> None:
    document = iexec_document()
    document["security"]["attestation"]["tiers"] = ["intel", "amd"]
    kept = stored(document)
    service = kept.session.services[0]
    assert policy_of(kept, service, [INTEL, SIMULATED]).anchors == (INTEL,)
    with pytest.raises(AdytonError) as caught:
        policy_of(kept, service, [SIMULATED])
    assert caught.value.code == "cas.release.tier"


def test_no_key_of_the_document_names_an_anchor() -> None:
    for place in ("anchors", "anchor", "roots"):
        document = iexec_document()
        document["security"]["attestation"][place] = [SIMULATED.tier]
        with pytest.raises(AdytonError, match=place):
            from_document(document)


def test_refusals_keep_their_code_but_the_measurement_is_ours() -> None:
    debug = AttestationError("debug", code="attestation.debug")
    assert refusal(debug, "app") is debug
    assert refusal(AttestationError("x", code="attestation.measurement"), "app").code == "cas.release.measurement"


def test_the_measurement_is_checked_apart_from_the_quote() -> None:
    world = World()
    quote = world.platform(bytes.fromhex(APP)).quote(bytes(64))
    evidence = require_enclave(world.verifier().verify(quote, world.policy(bytes.fromhex(APP))))
    check_measurement(Service(name="app", mrenclaves=(PRE, APP)), evidence)
    with pytest.raises(AdytonError) as caught:
        check_measurement(Service(name="app", mrenclaves=(PRE,)), evidence)
    assert caught.value.code == "cas.release.measurement"


def test_configuration_is_the_services_part_alone() -> None:
    document = small_document(
        services=[
            {
                "name": "app",
                "image_name": "mine",
                "mrenclaves": [APP],
                "command": "run --token $$SCONE::mine$$",
                "pwd": "/srv",
                "environment": {"MINE": "$$SCONE::mine:hex$$", "UNSET": None, "EMPTY": ""},
            },
            {"name": "b", "image_name": "theirs", "mrenclaves": [PRE], "environment": {"THEIRS": "$$SCONE::theirs$$"}},
        ],
        images=[
            {
                "name": "mine",
                "volumes": [{"name": "data", "path": "/data"}],
                "injection_files": [{"path": "/run/key", "content": "$$SCONE::raw$$"}],
            },
            {"name": "theirs", "volumes": [{"name": "other", "path": "/other"}]},
        ],
        volumes=[{"name": "data"}, {"name": "other"}, {"name": "unused"}],
        secrets=[
            {"name": "mine", "kind": "ascii", "value": "m"},
            {"name": "theirs", "kind": "ascii", "value": "t"},
            {"name": "raw", "kind": "binary", "value": "00ff"},
        ],
    )
    kept = stored(document)
    service = kept.session.service("app")
    assert service is not None
    answer = configuration(kept, service, MRENCLAVE, ca="CA", certificate="CERT")
    assert answer.model_dump() == {
        "command": "run --token m",
        "pwd": "/srv",
        "environment": {"MINE": "6d", "EMPTY": ""},
        "volumes": {"data": {"path": "/data", "key": kept.material.volume_keys["data"].reveal().hex()}},
        "files": ({"path": "/run/key", "content": base64.b64encode(b"\x00\xff").decode(), "bound": False},),
        "ca": "CA",
        "certificate": "CERT",
        "upgrade": None,
        "activation": "",
    }
    assert "6d" not in repr(answer)


def test_a_service_without_an_image_has_no_volumes() -> None:
    kept = stored(small_document(volumes=[{"name": "data"}]))
    answer = configuration(kept, kept.session.services[0], MRENCLAVE, ca="", certificate="")
    assert (answer.volumes, answer.files) == ({}, ())


def test_a_key_of_the_enclave_is_marked_as_such_and_differs_for_every_measurement() -> None:
    document = small_document(secrets=[{"name": "key", "kind": "enclave-key"}, {"name": "known", "kind": "binary"}])
    document["images"] = [
        {
            "name": "image",
            "injection_files": [
                {"path": "/run/key", "content": "$$SCONE::key:hex$$"},
                {"path": "/run/known", "content": "$$SCONE::known:hex$$"},
                {"path": "/run/more", "content": "$$SCONE::key:hex$$ and more"},
            ],
        }
    ]
    document["services"][0]["image_name"] = "image"
    kept = stored(document)
    service = kept.session.services[0]
    files = configuration(kept, service, MRENCLAVE, ca="", certificate="").files
    other = configuration(kept, service, b"\x12" * 32, ca="", certificate="").files
    assert [file.bound for file in files] == [True, False, False]
    assert files[0].content != other[0].content
    assert files[1].content == other[1].content
    assert configuration(kept, service, MRENCLAVE, ca="", certificate="").files[0].content == files[0].content
