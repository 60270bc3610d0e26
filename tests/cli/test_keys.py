"""``adyton keys rotate cas`` against a running CAS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cas.documents import small_document, to_yaml
from tests.cas.house import House, Running, certificate_service, new_world

from adyton.cas.operator import make_identity, verify_audit
from adyton.cas.settings import CasSettings
from adyton.cli.adyton.main import main


class Administered(House):
    """A house whose CASes take orders from the owner ``operator``."""

    def settings(self, database: str = "cas") -> CasSettings:
        key = make_identity(self.folder / "operator")
        return super().settings(database).model_copy(update={"admins": (key,)})


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
    assert cas.owner("operator").show("small").hash == info.hash


def test_who_is_not_named_and_who_has_no_key(cas: Running, capsys: pytest.CaptureFixture[str]) -> None:
    cas.owner("stranger")
    words = ("keys", "rotate", "cas", "--url", cas.url, "--identity")
    assert adyton(*words, str(cas.folder / "stranger")) == 1
    assert "no administrator" in capsys.readouterr().err
    assert adyton(*words, str(cas.folder / "nowhere")) == 1
    assert "make a client key and verify the CAS first" in capsys.readouterr().err
