"""The agent in real enclaves: a real platform daemon, and a real CAS that trusts it."""

from __future__ import annotations

import hashlib
import json
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

from adyton.enclave.manifest import CasPolicy
from adyton.enclave.sconify import SconeImage
from adyton.enclave.sigstruct import new_signer
from adyton.platform.simulated.pki import SimulatedVendor

_CANARY = "canary-51c09be2"

_APP = """
import json, os, sys
from pathlib import Path

verb = sys.argv[1]
if verb == "show":
    identity = Path("/run/adyton/identity.pem")
    print(json.dumps({
        "environment": dict(os.environ), "cwd": os.getcwd(), "argv": sys.argv[1:],
        "identity": identity.read_text(), "mode": identity.stat().st_mode & 0o777,
        "ca": Path("/run/adyton/cas-ca.pem").read_text(),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }))
elif verb == "put":
    Path(sys.argv[2]).write_text(sys.argv[3])
elif verb == "get":
    print(Path(sys.argv[2]).read_text())
elif verb == "exit":
    sys.exit(int(sys.argv[2]))
elif verb == "prove":
    sys.path.append("/.adyton/runtime/site")
    from adyton.base.errors import AdytonError
    from adyton.platform.client import EnclavePlatform

    platform = EnclavePlatform.from_environment()
    found = {"quote": platform.quote(bytes(range(64))).hex(), "descriptors": len(os.listdir("/proc/self/fd"))}
    try:
        platform.startup()
    except AdytonError as error:
        found["startup"] = error.code
    print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """A machine, a CAS that trusts it, and two enclaves of one program."""

    machine: Machine
    cas: Running
    production: tuple[Path, SconeImage]
    debug: tuple[Path, SconeImage]
    folder: Path

    def session(self, name: str, command: str, **changes: Any) -> str:  # noqa: ANN401  # members of a service
        """Create a session with one service, and return its name."""
        service = {
            "name": "app",
            "image_name": "image",
            "mrenclaves": [self.production[1].mrenclave],
            "pwd": "/app",
            "command": command,
            "environment": {"SECRET": _CANARY},
        } | changes.pop("service", {})
        document = {
            "name": name,
            "version": "0.3.10",
            "access_policy": {"read": ["CREATOR"], "update": ["NONE"]},
            "services": [service],
            "images": [{"name": "image", "volumes": [{"name": "iexec_out", "path": "/iexec_out"}]}],
            "volumes": [{"name": "iexec_out"}],
            "security": {"attestation": {"tolerate": [], "ignore_advisories": [], "mode": "hardware"}},
        } | changes
        self.cas.owner().create(yaml.safe_dump(document))
        return name

    def run(self, session: str, layout: Path | None = None, **request: Any) -> Outcome:  # noqa: ANN401
        """Launch the service ``app`` of a session."""
        environment = {"SCONE_CONFIG_ID": f"{session}/app"} | request.pop("environment", {})
        address = request.pop("cas_address", f"127.0.0.1:{self.cas.attested_port}")
        return self.machine.run(layout or self.production[0], environment=environment, cas_address=address, **request)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    folder = tmp_path_factory.mktemp("setting")
    with running_daemon(folder / "machine") as machine:
        vendor = SimulatedVendor.create(machine.state / "vendor")
        world = World(vendor, now=datetime.now(UTC))
        native = build_native(folder / "native", {"app.py": _APP})
        pinned = CasPolicy(world.anchor.tier, (CAS.hex(),))
        options: dict[str, Any] = {"cas": pinned, "host_environment": ("FROM_HOST", "SECRET")}
        production = enclave(native, folder, signer=new_signer(), environment={"MEASURED": "1"}, **options)
        debug = enclave(native, folder, **options)
        with House(world, machine.client.info().pccs_url, folder).open() as cas:
            yield Setting(machine, cas, production, debug, folder)


def test_the_program_gets_its_part_of_the_session(setting: Setting) -> None:
    session = setting.session("shows", "python3 /app/app.py show 'two words'")
    outcome = setting.run(session, environment={"FROM_HOST": "h", "SECRET": "overridden by the session"})
    assert outcome.stderr == ""
    seen = json.loads(outcome.stdout)
    environment = seen["environment"]
    assert (environment["SECRET"], environment["FROM_HOST"], environment["MEASURED"]) == (_CANARY, "h", "1")
    assert "ADYTON_PLATFORM_FD" not in environment
    assert seen["cwd"] == "/app"
    assert seen["argv"] == ["show", "two words"]
    assert seen["mode"] == 0o600
    assert "BEGIN PRIVATE KEY" in seen["identity"]
    assert "BEGIN CERTIFICATE" in seen["identity"]
    assert "BEGIN CERTIFICATE" in seen["ca"]
    assert seen["descriptors"] == 4  # three and the one that lists them: not the platform's


def test_the_program_s_status_is_the_enclave_s(setting: Setting) -> None:
    assert setting.run(setting.session("exits", "python3 /app/app.py exit 33")).status.code == 33


def test_volumes_carry_data_and_the_host_reads_none(setting: Setting, tmp_path: Path) -> None:
    session = setting.session("stores", f"python3 /app/app.py put /iexec_out/file {_CANARY}")
    assert setting.run(session, volumes={"iexec_out": tmp_path}).status.code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["volume.bin"]
    assert _CANARY.encode() not in (tmp_path / "volume.bin").read_bytes()
    other = setting.session("steals", "python3 /app/app.py get /iexec_out/file")
    outcome = setting.run(other, volumes={"iexec_out": tmp_path})
    assert outcome.status.code == 121
    assert outcome.stderr.splitlines()[-1].startswith("adyton-enclave: refused runtime.volume.altered: ")
    assert _CANARY not in outcome.stdout + outcome.stderr


def test_services_of_one_session_share_a_volume(setting: Setting, tmp_path: Path) -> None:
    def service(name: str, command: str) -> dict[str, Any]:
        return {
            "name": name, "image_name": "image", "mrenclaves": [setting.production[1].mrenclave], "pwd": "/",
            "command": command, "environment": {},
        }  # fmt: skip

    put = service("app", f"python3 /app/app.py put /iexec_out/file {_CANARY}")
    get = service("post", "python3 /app/app.py get /iexec_out/file")
    session = setting.session("shares", "", services=[put, get])
    assert setting.run(session, volumes={"iexec_out": tmp_path}).status.code == 0
    sealed = (tmp_path / "volume.bin").read_bytes()
    read = setting.run(session, volumes={"iexec_out": tmp_path}, environment={"SCONE_CONFIG_ID": f"{session}/post"})
    assert read.stdout.strip() == _CANARY
    assert (tmp_path / "volume.bin").read_bytes() == sealed  # unchanged content is not written again


def test_secrets_are_nowhere_on_the_host(setting: Setting) -> None:
    session = setting.session("hides", "python3 /app/app.py exit 0")
    setting.run(session)
    log = (setting.folder / "machine/daemon.log").read_text()
    assert _CANARY not in log
    assert session not in log


@pytest.mark.parametrize(
    ("layout", "session", "service", "code"),
    [
        pytest.param("debug", "shows-again", "app", "", id="debug enclave in a production session"),
        pytest.param("production", "no-such-session", "app", "cas.release.refused", id="unknown session"),
        pytest.param("production", "shows-again", "other", "cas.session.service_unknown", id="unknown service"),
    ],
)
def test_the_cas_refuses(setting: Setting, layout: str, session: str, service: str, code: str) -> None:
    if session == "shows-again":
        name = f"{session}-{layout}-{service}"
        mrenclaves = [setting.debug[1].mrenclave, setting.production[1].mrenclave]
        session = setting.session(name, "python3 /app/app.py show", service={"mrenclaves": mrenclaves})
    outcome = setting.run(session, getattr(setting, layout)[0], environment={"SCONE_CONFIG_ID": f"{session}/{service}"})
    assert outcome.status.code == 121
    assert outcome.stderr.splitlines()[-1].startswith(f"adyton-enclave: refused {code}")
    assert outcome.stdout == ""


def test_an_enclave_whose_measurement_is_not_listed_is_refused(setting: Setting) -> None:
    session = setting.session("lists-another", "python3 /app/app.py show", service={"mrenclaves": ["00" * 32]})
    outcome = setting.run(session)
    assert (outcome.status.code, outcome.stdout) == (121, "")
    assert "refused cas.release.refused" in outcome.stderr


def test_a_cas_that_the_measurement_does_not_name_is_refused(setting: Setting, tmp_path: Path) -> None:
    world = setting.cas.world
    session = setting.session("fooled", "python3 /app/app.py show")
    with House(world, setting.machine.client.info().pccs_url, tmp_path).open(
        platform=world.platform(b"\xee" * 32)
    ) as other:
        outcome = setting.run(session, cas_address=f"127.0.0.1:{other.attested_port}")
    assert (outcome.status.code, outcome.stdout) == (121, "")
    assert "refused" in outcome.stderr.splitlines()[-1]


def test_a_cas_that_is_not_there_is_a_failure_not_a_refusal(setting: Setting) -> None:
    outcome = setting.run("any", cas_address="127.0.0.1:9", timeout_s=60)
    assert outcome.status.code == 122
    assert outcome.stderr.splitlines()[-1].startswith("adyton-enclave: failed ")


@pytest.mark.parametrize(
    ("name", "changes", "code"),
    [
        pytest.param("nothing", {"command": ""}, None, id="the image's own command"),
        pytest.param("missing", {"command": "nosuchprogram"}, "runtime.command.missing", id="unknown program"),
        pytest.param("nowhere", {"pwd": "/nowhere"}, "runtime.command.cwd", id="unknown folder"),
    ],
)
def test_commands_that_do_not_fit(setting: Setting, name: str, changes: dict[str, str], code: str | None) -> None:
    outcome = setting.run(setting.session(name, "python3 /app/app.py show", service=changes))
    if code is None:
        assert "IndexError" in outcome.stderr  # the manifest's command ran, without arguments
    else:
        assert outcome.status.code == 121
        assert f"refused {code}" in outcome.stderr


def test_volumes_the_image_does_not_have_are_refused(setting: Setting) -> None:
    session = setting.session(
        "extra-volume",
        "python3 /app/app.py show",
        images=[{"name": "image", "volumes": [{"name": "more", "path": "/more"}]}],
        volumes=[{"name": "more"}],
    )
    outcome = setting.run(session)
    assert outcome.status.code == 121
    assert "refused runtime.volume.unknown" in outcome.stderr


@pytest.fixture(scope="module")
def closed(setting: Setting) -> tuple[Path, SconeImage]:
    """The same program as an enclave that takes nothing but keys of its own from a session."""
    native = build_native(setting.folder / "closed-native", {"app.py": _APP})
    options: dict[str, Any] = {"command": "python3 /app/app.py get /run/adyton/key", "closed": True}
    pinned = CasPolicy(World(SimulatedVendor.create(setting.machine.state / "vendor")).anchor.tier, (CAS.hex(),))
    return enclave(native, setting.folder, signer=new_signer(), cas=pinned, **options)


@pytest.mark.usefixtures("closed")  # it makes the native image
def test_a_closed_enclave_whose_manifest_says_so_proves_what_it_is(setting: Setting) -> None:
    world = setting.cas.world
    options: dict[str, Any] = {"command": "python3 /app/app.py prove", "closed": True, "evidence": True}
    pinned = CasPolicy(world.anchor.tier, (CAS.hex(),))
    native = setting.folder / "closed-native" / "native"
    layout, image = enclave(native, setting.folder, signer=new_signer(), cas=pinned, **options)
    outcome = setting.run(_closed_session(setting, image, "proves", {"kind": "enclave-key"}), layout)
    assert outcome.stderr == ""
    found = json.loads(outcome.stdout)
    evidence = world.verifier().verify(bytes.fromhex(found["quote"]), world.policy(bytes.fromhex(image.mrenclave)))
    assert evidence.report_data == bytes(range(64))
    assert (found["startup"], found["descriptors"]) == ("platform.channel.request", 5)


def _closed_session(setting: Setting, image: SconeImage, name: str, kind: dict[str, Any], **service: Any) -> str:  # noqa: ANN401
    return setting.session(
        name,
        "",
        service={"mrenclaves": [image.mrenclave], "environment": {}, "pwd": "/tmp"} | service,
        images=[
            {
                "name": "image",
                "injection_files": [{"path": "/run/adyton/key", "content": "$$SCONE::key:hex$$"}],
            }
        ],
        volumes=[],
        secrets=[{"name": "key"} | kind],
    )


def test_a_closed_enclave_runs_what_was_measured_with_a_key_of_its_own(
    setting: Setting, closed: tuple[Path, SconeImage]
) -> None:
    session = _closed_session(setting, closed[1], "closed", {"kind": "enclave-key"})
    first, again = (setting.run(session, closed[0]) for _ in range(2))
    assert first.stderr == ""
    assert len(first.stdout.strip()) == 64
    assert first.stdout == again.stdout


@pytest.mark.parametrize(
    ("attack", "named"),
    [
        ({"kind": {"kind": "enclave-key"}, "command": "python3 -c 'print(1)'"}, "command"),
        ({"kind": {"kind": "enclave-key"}, "environment": {"LD_PRELOAD": "/data/evil.so"}}, "environment"),
        ({"kind": {"kind": "binary", "value": "00" * 32}}, "/run/adyton/key"),
        ({"kind": {"kind": "binary"}}, "/run/adyton/key"),
    ],
    ids=["a command", "a variable", "a key the owner knows", "a key that other services could get"],
)
def test_a_closed_enclave_refuses_what_the_owner_of_its_session_could_misuse(
    setting: Setting, closed: tuple[Path, SconeImage], attack: dict[str, Any], named: str
) -> None:
    name = f"closed-{hashlib.sha256(json.dumps(attack).encode()).hexdigest()[:8]}"
    outcome = setting.run(_closed_session(setting, closed[1], name, **attack), closed[0])
    assert outcome.status.code == 121
    assert "runtime.session.closed" in outcome.stderr
    assert named in outcome.stderr
    assert outcome.stdout == ""


def test_a_closed_enclave_takes_no_volume_that_another_one_could_have_written(setting: Setting) -> None:
    options: dict[str, Any] = {"command": "python3 /app/app.py get /data/word", "closed": True}
    pinned = CasPolicy(setting.cas.world.anchor.tier, (CAS.hex(),))
    native = build_native(setting.folder / "closed-volume", {"app.py": _APP})
    layout, image = enclave(
        native, setting.folder, signer=new_signer(), cas=pinned, volumes={"word": "/data"}, **options
    )
    name = setting.session(
        "closed-volume",
        "",
        service={"mrenclaves": [image.mrenclave], "environment": {}, "pwd": "/tmp"},
        images=[{"name": "image", "volumes": [{"name": "word", "path": "/data"}]}],
        volumes=[{"name": "word"}],
    )
    outcome = setting.run(name, layout)
    assert outcome.status.code == 121
    assert "runtime.session.closed" in outcome.stderr
    assert "volumes" in outcome.stderr
