"""An enclave, its approved successor, and what becomes of its data: real enclaves, a real CAS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cas.house import CAS, House, Running
from tests.platform.machine import Machine, Outcome, build_native, enclave, running_daemon
from tests.platform.world import World

from adyton.cas.client.tls import CasRefusedError
from adyton.enclave.manifest import CasPolicy
from adyton.enclave.sconify import SconeImage
from adyton.enclave.sigstruct import new_signer
from adyton.enclave.successors import UpgradePolicy
from adyton.platform.simulated.pki import SimulatedVendor

APPROVERS = ("ann", "bob")
CANARY = "canary-7d21c9"

_STORE = """
import hashlib, hmac, os, sys
from pathlib import Path

key = bytes.fromhex(Path("/run/adyton/key").read_text())
database = Path("/data/database")


def stream(length):
    return b"".join(hashlib.sha256(key + bytes([i])).digest() for i in range(1 + length // 32))[:length]


def mixed(data):
    return bytes(a ^ b for a, b in zip(data, stream(len(data))))


if not database.exists():
    secret = os.environ["SECRET"].encode()
    database.write_bytes(hmac.digest(key, secret, "sha256") + mixed(secret))
mark, data = database.read_bytes()[:32], mixed(database.read_bytes()[32:])
if not hmac.compare_digest(mark, hmac.digest(key, data, "sha256")):
    sys.exit("made with another key")
print("has " + data.decode())
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """A machine, a CAS that trusts it, and editions of one closed program."""

    machine: Machine
    cas: Running
    editions: dict[str, tuple[Path, SconeImage]]
    data: Path

    def policy(self, threshold: int = 2) -> dict[str, Any]:
        return {"approvers": [self.cas.key_hash(who) for who in APPROVERS], "threshold": threshold}

    def create(self, name: str, edition: str, upgrade: object) -> None:
        file = {"path": "/run/adyton/key", "content": "$$SCONE::key:hex$$"}
        document = {
            "name": name,
            "version": "0.3.10",
            "access_policy": {"update": ["NONE"]},
            "services": [
                {"name": "app", "image_name": "image", "mrenclaves": [self.measured(edition)], "pwd": "/"},
            ],
            "images": [{"name": "image", "injection_files": [file]}],
            "secrets": [{"name": "key", "kind": "enclave-key"}],
            "upgrade": upgrade,
        }
        self.cas.owner().create(yaml.safe_dump(document))

    def measured(self, edition: str) -> str:
        return self.editions[edition][1].mrenclave

    def run(self, name: str, edition: str, secret: str = "", folder: str = "") -> Outcome:
        place = self.data / (folder or name)
        place.mkdir(exist_ok=True)
        return self.machine.run(
            self.editions[edition][0],
            environment={"SCONE_CONFIG_ID": f"{name}/app", "SECRET": secret},
            host_paths={"/data": place},
            cas_address=f"127.0.0.1:{self.cas.attested_port}",
        )

    def approve(self, name: str, before: str, after: str, choice: str, *who: str) -> None:
        for approver in who or APPROVERS:
            self.cas.owner(approver).approve(name, self.measured(before), self.measured(after), choice)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    folder = tmp_path_factory.mktemp("setting")
    with running_daemon(folder / "machine") as machine:
        world = World(SimulatedVendor.create(machine.state / "vendor"), now=datetime.now(UTC))
        with House(world, machine.client.info().pccs_url, folder).open() as cas:
            hashes = tuple(sorted(cas.key_hash(who) for who in APPROVERS))
            policies = {
                "first": UpgradePolicy(hashes, 2),
                "second": UpgradePolicy(hashes, 2),
                "third": UpgradePolicy(hashes, 2),
                "lax": UpgradePolicy(hashes, 1),
                "never": None,
            }
            editions = {}
            native = build_native(folder / "native", {"app.py": _STORE})
            for number, (name, policy) in enumerate(policies.items()):
                editions[name] = enclave(
                    native,
                    folder,
                    signer=new_signer(),
                    cas=CasPolicy(world.anchor.tier, (CAS.hex(),)),
                    closed=True,
                    upgrade=policy,
                    command="python3 /app/app.py",
                    host_paths=("/data/",),
                    host_environment=("SECRET",),
                    isvsvn=number,  # enough for another measurement
                )
            data = folder / "data"
            data.mkdir()
            yield Setting(machine, cas, editions, data)


def refused(outcome: Outcome, code: str) -> bool:
    last = outcome.stderr.splitlines()[-1]
    return outcome.status.code == 121 and outcome.stdout == "" and last.startswith(f"adyton-enclave: refused {code}: ")


def test_carry_hands_the_data_on_and_closes_the_way_back(setting: Setting) -> None:
    setting.create("carried", "first", setting.policy())
    assert setting.run("carried", "first", CANARY).stdout == f"has {CANARY}\n"
    assert refused(setting.run("carried", "second"), "cas.release.refused")
    setting.approve("carried", "first", "second", "carry", "ann")
    assert refused(setting.run("carried", "second"), "cas.release.unapproved")
    setting.approve("carried", "first", "second", "carry", "bob")
    assert setting.run("carried", "second").stdout == f"has {CANARY}\n"
    assert refused(setting.run("carried", "first"), "cas.release.retired")
    setting.approve("carried", "second", "third", "carry")
    assert setting.run("carried", "third").stdout == f"has {CANARY}\n"
    assert CANARY.encode() not in (setting.data / "carried" / "database").read_bytes()


def test_discard_closes_the_data_to_everybody(setting: Setting) -> None:
    setting.create("discarded", "first", setting.policy())
    assert setting.run("discarded", "first", CANARY).stdout == f"has {CANARY}\n"
    setting.approve("discarded", "first", "second", "discard")
    outcome = setting.run("discarded", "second")
    assert (outcome.status.code, outcome.stdout) == (1, "")
    assert "made with another key" in outcome.stderr
    assert refused(setting.run("discarded", "first"), "cas.release.retired")
    assert setting.run("discarded", "second", "anew", folder="empty").stdout == "has anew\n"


def test_without_approvers_of_its_own_an_enclave_has_no_successor(setting: Setting) -> None:
    setting.create("closed", "never", None)
    assert setting.run("closed", "never", CANARY).stdout == f"has {CANARY}\n"
    assert refused(setting.run("closed", "second"), "cas.release.refused")
    with pytest.raises(CasRefusedError) as caught:
        setting.cas.owner().approve("closed", setting.measured("never"), setting.measured("second"), "carry")
    assert caught.value.code == "cas.upgrade.none"


@pytest.mark.parametrize(
    ("edition", "policy"),
    [
        pytest.param("never", {"approvers": ["ee" * 32], "threshold": 1}, id="the owner names approvers"),
        pytest.param("first", None, id="the owner names none"),
        pytest.param("first", {"approvers": ["ee" * 32], "threshold": 1}, id="the owner names others"),
        pytest.param("lax", "two of them", id="more are needed than measured"),
        pytest.param("first", "one of them", id="fewer are needed than measured"),
    ],
)
def test_an_enclave_refuses_a_session_with_other_approvers_than_it_was_built_for(
    setting: Setting, request: pytest.FixtureRequest, edition: str, policy: object
) -> None:
    name = f"other-{request.node.callspec.id.replace(' ', '-')}"
    known = {"two of them": setting.policy(2), "one of them": setting.policy(1)}
    setting.create(name, edition, known.get(str(policy), policy))
    assert refused(setting.run(name, edition, CANARY), "runtime.session.upgrade")
    assert not any((setting.data / name).iterdir())


def test_a_successor_with_other_approvers_refuses_and_an_approved_one_still_gets_the_data(setting: Setting) -> None:
    """The approvers were careless: what they approved does not run. The data are not lost."""
    setting.create("careless", "first", setting.policy())
    setting.run("careless", "first", CANARY)
    setting.approve("careless", "first", "lax", "carry")
    assert refused(setting.run("careless", "lax"), "runtime.session.upgrade")
    setting.approve("careless", "lax", "second", "carry")
    assert setting.run("careless", "second").stdout == f"has {CANARY}\n"
