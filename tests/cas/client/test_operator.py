"""A person's way to a session: key, verified CAS, documents, audit log."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.cas.documents import iexec_document, small_document, to_yaml
from tests.cas.house import CAS, Running

from adyton.attestation.errors import AttestationError
from adyton.base.errors import InputError
from adyton.cas.client import operator
from adyton.cas.client.operator import OperatorFiles
from adyton.cas.language.session import SessionError


def test_an_identity_is_made_once_and_private(tmp_path: Path) -> None:
    first = operator.make_identity(tmp_path)
    assert operator.make_identity(tmp_path) == first
    assert stat.S_IMODE(OperatorFiles(tmp_path).key.stat().st_mode) == 0o600
    assert operator.make_identity(tmp_path / "other") != first


def test_half_an_identity_is_not_replaced(tmp_path: Path) -> None:
    operator.make_identity(tmp_path)
    OperatorFiles(tmp_path).key.unlink()
    with pytest.raises(InputError):
        operator.make_identity(tmp_path)


def test_the_way_in(cas: Running, tmp_path: Path) -> None:
    key_hash = operator.make_identity(tmp_path)
    policy = operator.cas_policy(cas.world.anchor.tier, [CAS.hex()])
    attested = operator.trust_cas(cas.url, tmp_path, policy, clock=cas.world.clock)
    assert attested.evidence.tier == cas.world.anchor.tier
    client = operator.open_client(cas.url, tmp_path)
    created = client.create(to_yaml(small_document(name="way-in", access_policy={"read": [key_hash]})))
    assert client.show("way-in").hash == created.hash


def test_nothing_is_trusted_before_it_is_verified(cas: Running, tmp_path: Path) -> None:
    operator.make_identity(tmp_path)
    with pytest.raises(InputError) as missing:
        operator.open_client(cas.url, tmp_path)
    assert "verify the CAS" in missing.value.hint
    wrong = operator.cas_policy(cas.world.anchor.tier, ["00" * 32])
    with pytest.raises(AttestationError):
        operator.trust_cas(cas.url, tmp_path, wrong, clock=cas.world.clock)
    assert not OperatorFiles(tmp_path).root.exists()


@pytest.mark.parametrize(
    ("anchor", "mrenclaves", "tolerate"),
    [
        ("sim:abc", ["00" * 32], ()),
        ("intel", [], ()),
        ("intel", ["00"], ()),
        ("intel", ["xx"], ()),
        ("intel", ["00" * 32], ("everything",)),
    ],
)
def test_policies_that_make_no_sense(anchor: str, mrenclaves: list[str], tolerate: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        operator.cas_policy(anchor, mrenclaves, tolerate=tolerate)


def test_checking_a_document_needs_no_cas() -> None:
    assert operator.check_session(to_yaml(iexec_document())).name == iexec_document()["name"]
    with pytest.raises(SessionError):
        operator.check_session(to_yaml(small_document(secrets=[{"name": "a", "kind": "none"}])))


def test_an_absent_audit_log(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        operator.verify_audit(tmp_path)


def test_the_audit_log_of_a_running_cas(cas: Running) -> None:
    last = operator.verify_audit(cas.database)
    assert last is not None
    cas.owner().create(to_yaml(small_document(name="audited")))
    after = operator.verify_audit(cas.database)
    assert after is not None
    assert after.seq == last.seq + 1


def test_entering_verifies_first_and_keeps_roots_apart(cas: Running, tmp_path: Path) -> None:
    with pytest.raises(AttestationError):
        operator.enter(cas.url, tmp_path, cas.world.policy(b"\x01" * 32), clock=cas.world.clock)
    assert list(tmp_path.iterdir()) == []  # nothing is made for a CAS that is not the one
    client, attested = operator.enter(cas.url, tmp_path, cas.world.policy(CAS), clock=cas.world.clock)
    assert client.create(to_yaml(small_document(name="entered"))).version == 1
    assert (tmp_path / f"cas-ca-{attested.authority_sha256[:16]}.pem").read_text() == attested.authority_pem


def test_naming_the_predecessor() -> None:
    document = operator.with_predecessor(to_yaml(iexec_document()), "0" * 64)
    assert operator.check_session(document).predecessor == "0" * 64
    assert operator.with_predecessor(document, "0" * 64) == document
    shown = to_yaml(iexec_document() | {"predecessor": None})
    assert operator.check_session(operator.with_predecessor(shown, "0" * 64)).predecessor == "0" * 64
    assert operator.check_session(operator.with_predecessor(document, "1" * 64)).predecessor == "1" * 64
    with pytest.raises(InputError, match="not a mapping"):
        operator.with_predecessor(b"[]", "0" * 64)
