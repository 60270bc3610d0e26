"""Sessions in a real CAS: it accepts the documents this service makes, and this service knows which CAS it talks to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cas.house import CAS, House, Running, certificate_service, new_world
from tests.sms.opening.test_session_maker import FULL_PARAMS, STORED, description, document
from tests.sms.support import POOL_OWNER, REQUESTER, TASK_ID, WORKER, authorization, running

from adyton.base.secret import Secret
from adyton.cas.client.operator import OperatorFiles, make_identity, trust_cas
from adyton.cas.client.owners import SessionClient
from adyton.sms.client import SmsClient
from adyton.sms.errors import SessionRefusedError
from adyton.sms.opening.scone import to_yaml
from adyton.sms.opening.session_stores import CasSessionStore, SessionStoreError
from adyton.sms.store.tables import SecretKey
from adyton.sms.wire import IPFS_TOKEN, SessionFailure


@pytest.fixture(scope="module")
def cas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    world = new_world()
    with certificate_service(world) as url, House(world, url, tmp_path_factory.mktemp("cas")).open() as started:
        yield started


@pytest.fixture
def identity(cas: Running, tmp_path: Path) -> OperatorFiles:
    """A client identity as the agent writes it: key and certificate in one file, and the root of the CAS."""
    folder = tmp_path / "identity"
    make_identity(folder)
    trust_cas(cas.url, folder, cas.world.policy(CAS), clock=cas.world.clock)
    files = OperatorFiles(folder)
    (folder / "identity.pem").write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    return files


def store_of(cas: Running, files: OperatorFiles) -> CasSessionStore:
    return CasSessionStore(cas.url, files.folder / "identity.pem", files.root)


def test_the_cas_takes_a_full_session(cas: Running, identity: OperatorFiles) -> None:
    made = document(description(FULL_PARAMS, dataset=True))
    made["expiry"] = "2999-01-01T00:00:00Z"
    store_of(cas, identity).create(to_yaml(made))
    found = SessionClient(cas.url, identity.certificate, identity.key, identity.root).show(made["name"])
    assert found.document is not None
    assert [service["name"] for service in found.document["services"]] == ["pre-compute", "app", "post-compute"]
    assert found.document["expiry"] == made["expiry"]
    made["services"][1]["command"] = "another command"
    with pytest.raises(SessionStoreError, match=r"cas\."):
        store_of(cas, identity).create(to_yaml(made))


def test_a_secret_that_looks_like_a_template_is_refused_not_filled(cas: Running, identity: OperatorFiles) -> None:
    stored = STORED | {SecretKey.requester(REQUESTER.address, "login"): "$$SCONE::other$$"}
    with pytest.raises(SessionStoreError) as caught:
        store_of(cas, identity).create(to_yaml(document(description(FULL_PARAMS), stored)))
    assert "other" not in caught.value.message


def test_another_cas_gets_nothing(identity: OperatorFiles, tmp_path: Path) -> None:
    world = new_world()
    with (
        certificate_service(world) as url,
        House(world, url, tmp_path).open("other") as impostor,
        pytest.raises(SessionStoreError),
    ):
        store_of(impostor, identity).create(to_yaml(document(description())))


def test_missing_identity_files(cas: Running, tmp_path: Path) -> None:
    with pytest.raises(SessionStoreError) as caught:
        CasSessionStore(cas.url, tmp_path / "identity.pem", tmp_path / "cas-ca.pem").create(Secret("name: x"))
    assert "cas.client.identity" in caught.value.message


def test_a_worker_gets_a_session_that_the_cas_holds(cas: Running, identity: OperatorFiles, tmp_path: Path) -> None:
    with running(tmp_path, cas=store_of(cas, identity)) as service:
        service.chain.change_task(final_deadline=32_503_680_000)  # year 3000: the CAS has its own clock
        client = SmsClient(service.url)
        client.push_web2(IPFS_TOKEN, Secret("jwt"), WORKER)
        given = authorization(client.challenge(TASK_ID, POOL_OWNER))
        session = client.session(given, WORKER)
        owner = SessionClient(cas.url, identity.certificate, identity.key, identity.root)
        assert owner.show(session.session_id).name == session.session_id
        identity.root.unlink()
        with pytest.raises(SessionRefusedError) as caught:
            client.session(given, WORKER)
        assert caught.value.failure is SessionFailure.SECURE_SESSION_STORAGE_CALL_FAILED
        client.close()
