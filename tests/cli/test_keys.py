"""``adyton keys rotate cas`` and ``… sms`` against running services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cas.documents import small_document, to_yaml
from tests.cas.house import CAS, House, Running, certificate_service, new_world
from tests.sms.attested import SMS, WORLD, sms_over_tls
from tests.sms.keykeeper import KeyKeeper
from tests.sms.support import KEY_HEX

from adyton.base.secret import Secret
from adyton.cas.client.operator import OperatorFiles, make_identity, open_client, verify_audit
from adyton.cas.settings import CasSettings
from adyton.cli.adyton.main import main


class Administered(House):
    """A house whose CASes take orders from the owner ``operator``."""

    def settings(self, database: str = "cas", **changes: Any) -> CasSettings:  # noqa: ANN401  # any settings
        key = make_identity(self.folder / "operator")
        return super().settings(database, admins=(key,), **changes)


@pytest.fixture
def cas(tmp_path: Path) -> Iterator[Running]:
    world = new_world()
    with certificate_service(world) as url, Administered(world, url, tmp_path).open() as running:
        yield running


def adyton(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(str(ended.value.code or 0))


def test_the_keys_of_a_running_cas(cas: Running, capsys: pytest.CaptureFixture[str]) -> None:
    info = cas.owner("operator").create(to_yaml(small_document()))
    before = (cas.database / "cas.key").read_bytes()
    words = ("keys", "rotate", "cas", "--url", cas.url, "--identity", str(cas.folder / "operator"))
    assert adyton(*words) == 0
    printed = capsys.readouterr()
    last = verify_audit(cas.database)
    assert last is not None
    assert printed.out.endswith(f"{last.seq}:{last.hash}\n")  # before it stands what the CAS in this process logs
    assert last.values["event"] == "keys.rotate"
    assert (cas.database / "cas.key").read_bytes() != before
    root = OperatorFiles(cas.folder / "operator").root
    kept = root.read_bytes()
    assert last.values["authority"] in printed.err  # and the root that the operator kept still leads there
    assert open_client(cas.url, cas.folder / "operator").show("small").hash == info.hash
    assert root.read_bytes() == kept
    policy = ("--mrenclave", CAS.hex(), "--anchor", cas.world.anchor.tier)
    assert adyton("cas", "attest", cas.url, *policy, "--out", str(root)) == 0
    assert root.read_bytes() != kept
    assert open_client(cas.url, cas.folder / "operator").show("small").hash == info.hash


def test_who_is_not_named_and_who_has_no_key(cas: Running, capsys: pytest.CaptureFixture[str]) -> None:
    cas.owner("stranger")
    words = ("keys", "rotate", "cas", "--url", cas.url, "--identity")
    assert adyton(*words, str(cas.folder / "stranger")) == 1
    assert "no administrator" in capsys.readouterr().err
    assert adyton(*words, str(cas.folder / "nowhere")) == 1
    assert "make a client key and verify the CAS first" in capsys.readouterr().err
    OperatorFiles(cas.folder / "stranger").root.write_text("no root")
    assert adyton(*words, str(cas.folder / "stranger")) == 1
    assert "holds no PEM certificate" in capsys.readouterr().err


@pytest.fixture
def sms(tmp_path: Path) -> Iterator[tuple[str, KeyKeeper]]:
    keeper = KeyKeeper(tmp_path / "ring.json", Secret(bytes.fromhex(KEY_HEX)))
    admins = (make_identity(tmp_path / "operator"),)
    location = tmp_path / "backups"
    with sms_over_tls(tmp_path, exchange=keeper, admins=admins, admin_storage_location=location) as url:
        yield url, keeper


def operated(url: str, folder: Path, mrenclave: bytes = SMS) -> tuple[str, ...]:
    anchor = WORLD.anchor.tier
    return ("--url", url, "--mrenclave", mrenclave.hex(), "--anchor", anchor, "--identity", str(folder / "operator"))


def test_the_keys_of_a_running_sms(
    sms: tuple[str, KeyKeeper], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, keeper = sms
    assert adyton("keys", "rotate", "sms", *operated(url, tmp_path)) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith(f"1:{'00' * 32}\n")  # before it stands what the SMS in this process logs
    assert "rows sealed anew: 0 in " in printed.err
    assert "of generation 2, the one before is gone" in printed.err
    assert keeper.ring.generation == 2


def test_an_sms_that_is_not_the_expected_one_gets_no_order(
    sms: tuple[str, KeyKeeper], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, keeper = sms
    assert adyton("keys", "rotate", "sms", *operated(url, tmp_path, b"\x66" * 32)) == 1
    assert "attestation.measurement" in capsys.readouterr().err
    assert adyton("keys", "rotate", "sms", "--url", url, "--state", str(tmp_path / "none")) == 1
    assert "sms.client.measurement" in capsys.readouterr().err
    assert keeper.ring.generation == 1


def test_who_is_no_administrator_of_an_sms(
    sms: tuple[str, KeyKeeper], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, keeper = sms
    make_identity(tmp_path / "stranger")
    words = operated(url, tmp_path)[:-1]
    assert adyton("keys", "rotate", "sms", *words, str(tmp_path / "stranger")) == 1
    assert "ADYTON_SMS_ADMINS" in capsys.readouterr().err
    assert adyton("keys", "rotate", "sms", *words, str(tmp_path / "nowhere")) == 1
    assert "sms.operator.identity" in capsys.readouterr().err
    assert keeper.ring.generation == 1


def test_backups_of_a_running_sms(
    sms: tuple[str, KeyKeeper], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to, folder = operated(sms[0], tmp_path), ("--folder", str(tmp_path / "backups"))
    assert adyton("sms", "backup", "make", *to) == 0
    assert adyton("sms", "backup", "replicate", "kept", *folder, *to) == 0
    assert adyton("sms", "backup", "copy", "kept", "more", *folder, *to) == 0
    assert adyton("sms", "backup", "restore", "more", *folder, *to) == 0
    assert adyton("sms", "backup", "delete", "more", *folder, *to) == 0
    assert {file.name for file in (tmp_path / "backups").iterdir()} == {"work", "kept", "kept.key"}
    capsys.readouterr()
    assert adyton("keys", "rotate", "sms", *to) == 0
    assert adyton("sms", "backup", "restore", "kept", *folder, *to) == 1
    assert "sms.backup.exchanged" in capsys.readouterr().err
