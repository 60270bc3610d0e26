"""The operator's orders to an SMS over its attested TLS port, and who may not give them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from tests.sms.attested import OTHER, SMS, WORLD, Pretender, sms_over_tls, unverified
from tests.sms.http.test_tee_api import ask_challenge, ask_session, push_token
from tests.sms.keykeeper import KeyKeeper
from tests.sms.support import KEY_HEX, REQUESTER, authorization, running

from adyton.attestation.errors import AttestationError
from adyton.base.errors import AdytonError, InputError
from adyton.base.secret import Secret
from adyton.cas.client.operator import OperatorFiles, make_identity
from adyton.sms.attest import attest_sms
from adyton.sms.client import SmsClient
from adyton.sms.operation import SmsOperator, SmsRefusedError

KEY = "the-official-key"
POLICY = WORLD.policy(SMS)


@dataclass(frozen=True)
class Site:
    """A running SMS, the folder of its files, and who keeps its database key."""

    url: str
    folder: Path
    keeper: KeyKeeper

    @property
    def backups(self) -> str:
        return str(self.folder / "backups")

    def operator(self, name: str = "operator") -> SmsOperator:
        """Somebody with a key of their own; the SMS names the one of ``operator``."""
        files = OperatorFiles(self.folder / name)
        make_identity(files.folder)
        return SmsOperator(attest_sms(self.url, POLICY, clock=WORLD.clock), files.certificate, files.key)

    def push(self, name: str) -> None:
        sms = attest_sms(self.url, POLICY, clock=WORLD.clock)
        client = SmsClient(self.url, tls=sms.context())
        client.push_requester(name, Secret("value of " + name), REQUESTER)
        client.close()

    def has(self, name: str) -> bool:
        answer = httpx2.head(f"{self.url}/requesters/{REQUESTER.address}/secrets/{name}", verify=unverified())
        return answer.status_code == 204


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    keeper = KeyKeeper(tmp_path / "ring.json", Secret(bytes.fromhex(KEY_HEX)))
    with sms_over_tls(
        tmp_path,
        exchange=keeper,
        admins=(make_identity(tmp_path / "operator"),),
        admin_storage_location=tmp_path / "backups",
    ) as url:
        yield Site(url, tmp_path, keeper)


def test_the_keys_are_exchanged(site: Site) -> None:
    site.push("first")
    with site.operator() as sms:
        done = sms.rotate_keys()
        assert (done.rows, done.generation, done.entry, done.hash) == (1, 2, 1, "00" * 32)
        assert sms.rotate_keys().generation == 3
    assert site.keeper.ring.generation == 3
    site.push("second")
    assert site.has("first")
    assert site.has("second")


def test_backups(site: Site) -> None:
    site.push("first")
    with site.operator() as sms:
        sms.backup()
        sms.replicate(site.backups, "kept")
        sms.copy(site.backups, "kept", site.backups, "copy")
        with pytest.raises(SmsRefusedError):
            sms.copy(site.backups, "kept", site.backups, "copy")
        site.push("second")
        sms.restore(site.backups, "copy")
        assert site.has("first")
        assert not site.has("second")
        sms.delete(site.backups, "copy")
        with pytest.raises(SmsRefusedError) as caught:
            sms.restore(site.backups, "copy")
        assert caught.value.code == "sms.backup.not_found"
        assert {file.stat().st_mode & 0o777 for file in Path(site.backups).glob("kept*")} == {0o600}


def test_a_backup_says_why_it_cannot_be_restored(site: Site) -> None:
    key = Path(site.backups) / "kept.key"
    with site.operator() as sms:
        sms.backup()
        sms.replicate(site.backups, "kept")
        sms.rotate_keys()
        with pytest.raises(SmsRefusedError) as caught:
            sms.restore(site.backups, "kept")
        assert caught.value.code == "sms.backup.exchanged"
        assert "generation 1" in caught.value.message
        key.write_text(json.dumps(json.loads(key.read_bytes()) | {"measurement": "bb" * 32}))
        with pytest.raises(SmsRefusedError) as caught:
            sms.restore(site.backups, "kept")
        assert caught.value.code == "sms.backup.measurement"
        assert SMS.hex() in caught.value.message
        assert "bb" * 32 in caught.value.message


def orders(sms: SmsOperator, folder: str) -> Iterator[SmsRefusedError]:
    """What each operation is refused with."""
    for order in (
        sms.rotate_keys,
        sms.backup,
        lambda: sms.replicate(folder, "x"),
        lambda: sms.restore(folder, "x"),
        lambda: sms.delete(folder, "x"),
        lambda: sms.copy(folder, "x", folder, "y"),
    ):
        with pytest.raises(SmsRefusedError) as caught:
            order()
        yield caught.value


def test_another_key_may_nothing(site: Site) -> None:
    with site.operator("stranger") as sms:
        assert {error.code for error in orders(sms, site.backups)} == {"sms.admin.forbidden"}
    assert site.keeper.ring.generation == 1
    assert not Path(site.backups).exists()


def test_the_certificate_counts_not_what_is_said_about_it(site: Site) -> None:
    """Nobody without the key, and no header, passes for the operator."""
    pem = OperatorFiles(site.folder / "operator").certificate.read_text()
    for headers in ({}, {"X-API-KEY": ""}, {"X-API-KEY": "guess"}, {"X-Client-Cert": pem.replace("\n", " ").strip()}):
        answer = httpx2.post(f"{site.url}/admin/rotate-keys", headers=headers, verify=unverified())
        assert answer.status_code == 403
        assert answer.text == "This endpoint is disabled."
    assert site.keeper.ring.generation == 1


def test_the_official_key_stays(tmp_path: Path) -> None:
    """Beside named clients, and for one that is not named, too."""
    admin = make_identity(tmp_path / "operator")
    location = tmp_path / "backups"
    with sms_over_tls(tmp_path, admins=(admin,), admin_api_key=Secret(KEY), admin_storage_location=location) as url:
        for key, status in ((KEY, 201), ("guess", 401), ("", 401)):
            answer = httpx2.post(f"{url}/admin/backup", headers={"X-API-KEY": key}, verify=unverified())
            assert answer.status_code == status
        keeper = KeyKeeper(tmp_path / "ring.json", Secret(bytes.fromhex(KEY_HEX)))
        with Site(url, tmp_path, keeper).operator() as sms:
            done = sms.rotate_keys()
        assert (done.generation, done.entry, done.hash) == (0, 0, "")  # nobody keeps this SMS's database key


def test_nobody_is_an_administrator_by_default(tmp_path: Path) -> None:
    keeper = KeyKeeper(tmp_path / "ring.json", Secret(bytes.fromhex(KEY_HEX)))
    with sms_over_tls(tmp_path, exchange=keeper) as url, Site(url, tmp_path, keeper).operator() as sms:
        assert {error.code for error in orders(sms, str(tmp_path))} == {"sms.admin.forbidden"}


def test_another_enclave_is_given_no_order() -> None:
    with Pretender(mrenclave=OTHER).serving() as seen:
        with pytest.raises(AttestationError):
            attest_sms(seen.url, POLICY, clock=WORLD.clock)
        assert seen.got_nothing


def test_without_a_key_and_with_a_folder_that_is_none(site: Site) -> None:
    attested = attest_sms(site.url, POLICY, clock=WORLD.clock)
    with pytest.raises(InputError) as caught:
        SmsOperator(attested, site.folder / "none.pem", site.folder / "none.key")
    assert caught.value.code == "sms.operator.identity"
    with site.operator() as sms:
        for folder in ("relative", "/käse"):
            with pytest.raises(InputError):
                sms.restore(folder, "x")


def test_a_cas_that_is_away_is_said_to_be(site: Site) -> None:
    site.push("first")
    site.keeper.answers = False
    with site.operator() as sms:
        with pytest.raises(AdytonError) as caught:
            sms.rotate_keys()
        assert caught.value.code == "sms.keys.unfinished"
        site.keeper.answers = True
        assert sms.rotate_keys().generation == 2


def test_a_task_bought_before_an_exchange_gets_its_secrets_after_it(tmp_path: Path) -> None:
    """Challenge and secret were stored under the old key; the session holds both as they were."""
    keeper = KeyKeeper(tmp_path / "ring.json", Secret(bytes.fromhex(KEY_HEX)))
    with running(tmp_path, exchange=keeper, admin_api_key=Secret(KEY)) as service:
        push_token(service, value="canary-of-the-worker")
        challenge = ask_challenge(service).text
        answer = service.http.post("/admin/rotate-keys", headers={"X-API-KEY": KEY})
        assert (answer.status_code, answer.json()["generation"], answer.json()["rows"]) == (200, 2, 2)
        assert ask_challenge(service).text == challenge
        assert ask_session(service, authorization(challenge)).status_code == 200
        assert "canary-of-the-worker" in json.dumps(service.store.documents[0])
