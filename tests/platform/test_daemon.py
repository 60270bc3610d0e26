"""Real enclaves in a real daemon process: what starts, what is refused, and who gets evidence."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.platform.machine import Machine, build_native, enclave, running_daemon, steal_channel
from tests.waiting import PATIENCE_S, until

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.collateral.cache import CollateralCache
from adyton.attestation.collateral.pccs import PccsClient
from adyton.attestation.dcap.verify import Verifier
from adyton.attestation.errors import AttestationError
from adyton.attestation.policy import QuotePolicy, Weakness
from adyton.base.errors import UnavailableError
from adyton.content.oci import (
    ImageConfig,
    TarEntry,
    add_layers,
    deterministic_tar,
    read_layout,
    write_image,
    write_layout,
)
from adyton.enclave.image import EnclaveImage
from adyton.enclave.interpreter import shared_libraries
from adyton.enclave.manifest import MANIFEST_PATH, SIGSTRUCT_PATH
from adyton.enclave.sconify import SconeImage
from adyton.enclave.sigstruct import new_signer, sign
from adyton.platform import framing
from adyton.platform.client import EnclavePlatform, LaunchRefusedError, LaunchRequest, PlatformClient
from adyton.platform.framing import Receiver
from adyton.platform.protocol import PlatformError
from adyton.runner.profile import Limits

_APP = """
import json, os, signal, socket, subprocess, sys, time

sys.path.append("/.adyton/runtime/site")
verb = sys.argv[1]
if verb == "environment":
    print(json.dumps(dict(os.environ)))
elif verb == "quote":
    from adyton.platform.client import EnclavePlatform
    print(EnclavePlatform.from_environment().quote(bytes.fromhex(sys.argv[2])).hex())
elif verb == "seal":
    from adyton.platform.client import EnclavePlatform
    from adyton.attestation.formats.sgx import KeyName, KeyPolicy, KeyRequest
    platform = EnclavePlatform.from_environment()
    request = KeyRequest(KeyName.SEAL, keypolicy=KeyPolicy.MRENCLAVE)
    print(platform.seal_key(request).reveal().hex())
elif verb == "errors":
    from adyton.platform.client import EnclavePlatform
    from adyton.attestation.formats.sgx import KeyName, KeyRequest
    platform = EnclavePlatform.from_environment()
    for attempt in (lambda: platform.quote(b"short"), lambda: platform.seal_key(KeyRequest(KeyName.PROVISION)),
                    lambda: platform.seal_key(KeyRequest(KeyName.SEAL, keypolicy=1, isvsvn=9))):
        try:
            attempt()
        except Exception as error:
            print(type(error).__name__, getattr(error, "code", ""))
elif verb == "child":
    subprocess.run([sys.executable, __file__, "quote", "00" * 64], pass_fds=[int(os.environ["ADYTON_PLATFORM_FD"])])
elif verb == "files":
    for path in sys.argv[2:]:
        try:
            print(path, open(path).read().strip())
        except OSError as error:
            print(path, error.errno)
elif verb == "write":
    open(sys.argv[2], "w").write("from inside")
elif verb == "sleep":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
    print("ready", flush=True)
    time.sleep(60)
elif verb == "exit":
    sys.exit(int(sys.argv[2]))
"""

Image = tuple[Path, SconeImage]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with running_daemon(tmp_path_factory.mktemp("machine")) as running:
        yield running


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_native(tmp_path_factory.mktemp("native"), {"app.py": _APP})


@pytest.fixture(scope="module")
def debug(native: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    return enclave(
        native,
        tmp_path_factory.mktemp("debug"),
        config="none",
        host_environment=("GREETING",),
        host_paths=("/data/", "/etc/hosts"),
        isvsvn=3,
    )


@pytest.fixture(scope="module")
def production(native: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    return enclave(native, tmp_path_factory.mktemp("production"), config="none", signer=new_signer())


def _change(source: Path, out: Path, entries: list[TarEntry]) -> Path:
    """The image with one more layer, as somebody who repacks it would make it."""
    image = read_layout(source)
    write_image(add_layers(image, [deterministic_tar(entries)], image.config), out)
    return out


def _policy(machine: Machine, image: SconeImage, *tolerate: Weakness) -> QuotePolicy:
    anchor = TrustAnchor(machine.client.info().tier)
    return QuotePolicy(
        anchors=(anchor,), mrenclaves=frozenset({bytes.fromhex(image.mrenclave)}), tolerate=frozenset(tolerate)
    )


@pytest.fixture(scope="module")
def verifier(machine: Machine) -> Iterator[Verifier]:
    pccs = PccsClient(machine.client.info().pccs_url)
    yield Verifier(CollateralCache(pccs, [TrustAnchor(machine.client.info().tier)]))
    pccs.close()


def test_the_measurement_is_the_one_of_the_build(machine: Machine, debug: Image) -> None:
    outcome = machine.run(debug[0], args=("exit", "7"))
    assert outcome.status.code == 7
    assert outcome.mrenclave == debug[1].mrenclave == EnclaveImage.load(debug[0]).mrenclave.hex()


def test_the_environment_is_the_measured_one_and_what_the_host_may_set(machine: Machine, debug: Image) -> None:
    outcome = machine.run(debug[0], args=("environment",), environment={"GREETING": "hello"})
    environment = json.loads(outcome.stdout)
    assert environment.pop("ADYTON_PLATFORM_FD").isdecimal()
    environment.pop("LC_CTYPE", None)
    assert environment == {
        "GREETING": "hello", "LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def test_an_undeclared_variable_is_refused_by_name(machine: Machine, debug: Image) -> None:
    with pytest.raises(LaunchRefusedError, match="PYTHONPATH") as caught:
        machine.run(debug[0], args=("exit", "0"), environment={"PYTHONPATH": "/evil"})
    assert caught.value.code == "platform.launch.environment"
    assert "--host-env PYTHONPATH" in caught.value.hint


def test_quotes_verify_against_the_machine_s_own_root(machine: Machine, production: Image, verifier: Verifier) -> None:
    report_data = hashlib.sha512(b"claims").digest()
    quote = bytes.fromhex(machine.run(production[0], args=("quote", report_data.hex())).stdout)
    evidence = verifier.verify(quote, _policy(machine, production[1]))
    assert evidence.mrenclave.hex() == production[1].mrenclave
    assert evidence.mrsigner.hex() == production[1].mrsigner
    assert evidence.report_data == report_data
    assert evidence.tier.startswith("sim:")
    assert not evidence.debug


def test_debug_enclaves_say_so_in_their_evidence(machine: Machine, debug: Image, verifier: Verifier) -> None:
    quote = bytes.fromhex(machine.run(debug[0], args=("quote", "00" * 64)).stdout)
    with pytest.raises(AttestationError, match="debug"):
        verifier.verify(quote, _policy(machine, debug[1]))
    evidence = verifier.verify(quote, _policy(machine, debug[1], Weakness.DEBUG_MODE))
    assert evidence.debug


def test_programs_of_the_enclave_share_its_identity(machine: Machine, production: Image, verifier: Verifier) -> None:
    quote = bytes.fromhex(machine.run(production[0], args=("child",)).stdout)
    assert verifier.verify(quote, _policy(machine, production[1])).report_data == bytes(64)


def test_refusals_of_the_cpu_arrive_typed(machine: Machine, debug: Image) -> None:
    assert machine.run(debug[0], args=("errors",)).stdout.splitlines() == [
        "PlatformError platform.channel.report_data",
        "PlatformError platform.key",
        "SgxError platform.sgx.invalid_isvsvn",
    ]


def test_seal_keys_are_stable_and_differ_by_enclave(machine: Machine, debug: Image, production: Image) -> None:
    first, again, other = (machine.run(i[0], args=("seal",)).stdout for i in (debug, debug, production))
    assert first == again != other
    assert len(bytes.fromhex(first)) == 16


def test_seal_keys_survive_a_restart_of_the_daemon(tmp_path: Path, debug: Image) -> None:
    keys = []
    for _start in range(2):
        with running_daemon(tmp_path) as machine:
            keys.append((machine.run(debug[0], args=("seal",)).stdout, machine.client.info().tier))
    assert keys[0] == keys[1]


def test_a_changed_file_is_refused(machine: Machine, debug: Image, tmp_path: Path) -> None:
    changed = _change(debug[0], tmp_path / "changed", [TarEntry("app/app.py", content=_APP.encode() + b"#")])
    with pytest.raises(LaunchRefusedError, match=r"/app/app\.py") as caught:
        machine.run(changed)
    assert caught.value.code == "enclave.trusted_file.changed"


def test_an_added_file_is_refused(machine: Machine, debug: Image, tmp_path: Path) -> None:
    changed = _change(debug[0], tmp_path / "changed", [TarEntry("usr/local/lib/sitecustomize.py", content=b"")])
    with pytest.raises(LaunchRefusedError) as caught:
        machine.run(changed)
    assert caught.value.code == "enclave.trusted_file.unlisted"


def test_files_are_measured_at_every_launch(machine: Machine, debug: Image) -> None:
    machine.run(debug[0], args=("exit", "0"))
    program = machine.state / "images" / debug[1].digest.removeprefix("sha256:") / "app/app.py"
    original = program.read_bytes()
    program.write_bytes(original + b"#")
    try:
        with pytest.raises(LaunchRefusedError) as caught:
            machine.run(debug[0], args=("exit", "0"))
    finally:
        program.write_bytes(original)
    assert caught.value.code == "enclave.trusted_file.changed"
    assert machine.run(debug[0], args=("exit", "0")).status.code == 0


def test_a_changed_kept_file_is_refused_at_launch(machine: Machine, debug: Image) -> None:
    """Images share files with the cache of layers: a change there is a change of every image that has the file."""
    machine.run(debug[0], args=("exit", "0"))
    shared = machine.state / "images" / debug[1].digest.removeprefix("sha256:") / "usr/local/lib"
    library = next(path for path in sorted(shared.rglob("*.pyc")) if path.stat().st_nlink > 1)
    kept = next(
        path
        for path in (machine.state / "layers").rglob("*")
        if path.is_file() and path.stat().st_ino == library.stat().st_ino
    )
    original = kept.read_bytes()
    kept.write_bytes(original + b"#")
    try:
        with pytest.raises(LaunchRefusedError) as caught:
            machine.run(debug[0], args=("exit", "0"))
    finally:
        kept.write_bytes(original)
    assert caught.value.code == "enclave.trusted_file.changed"


def test_a_changed_kept_file_gets_into_no_new_image(machine: Machine, native: Path, tmp_path: Path) -> None:
    """A new image is measured when it is put together; its verified layers alone decide what is in it."""
    options = {"config": "none", "host_environment": ("OTHER",)}
    machine.client.prepare(enclave(native, tmp_path, **options)[0])
    kept = next(path for path in (machine.state / "layers").rglob("*") if path.is_file() and path.name.isdecimal())
    original = kept.read_bytes()
    with kept.open("r+b") as shared:  # also to restore it for the images that share it, once it is forgotten
        shared.write(bytes([original[0] ^ 1]))
        shared.flush()
        try:
            layout, built = enclave(native, tmp_path, **options, isvsvn=7)
            assert machine.run(layout, args=("exit", "3")).status.code == 3
            assert machine.client.prepare(layout) == built.mrenclave
            assert not kept.exists()  # forgotten, so the next image is made of good layers
        finally:
            shared.seek(0)
            shared.write(original[:1])


def test_a_prepared_image_is_measured_and_launched_later(machine: Machine, native: Path, tmp_path: Path) -> None:
    layout, built = enclave(native, tmp_path, config="none", isvsvn=9)
    assert machine.client.prepare(layout) == built.mrenclave
    assert (machine.state / "images" / built.digest.removeprefix("sha256:")).is_dir()
    assert machine.run(layout, args=("exit", "0")).status.code == 0


def test_an_image_that_would_be_refused_cannot_be_prepared(machine: Machine, debug: Image, tmp_path: Path) -> None:
    changed = _change(debug[0], tmp_path / "changed", [TarEntry("app/app.py", content=_APP.encode() + b"#")])
    with pytest.raises(LaunchRefusedError) as caught:
        machine.client.prepare(changed)
    assert caught.value.code == "enclave.trusted_file.changed"


@pytest.mark.parametrize(
    "message", [{"op": "prepare"}, {"op": "prepare", "layout": 1}, {"op": "prepare", "layout": "/", "more": 1}]
)
def test_malformed_prepare_requests_are_refused(machine: Machine, message: dict[str, object]) -> None:
    with framing.connect(machine.state / "platform.sock", PATIENCE_S) as connection:
        framing.send(connection, message)
        answer = Receiver(connection).receive()
    assert answer is not None
    assert answer["error"]["code"] == "platform.launch.request"


def test_an_edited_manifest_is_refused_by_einit(machine: Machine, production: Image, tmp_path: Path) -> None:
    manifest = replace(EnclaveImage.load(production[0]).manifest, host_environment=("LANG",))
    entry = TarEntry(MANIFEST_PATH[1:], content=manifest.to_json())
    with pytest.raises(LaunchRefusedError, match="MEASUREMENT") as caught:
        machine.run(_change(production[0], tmp_path / "changed", [entry]))
    assert caught.value.code == "platform.sgx.invalid_measurement"


def test_a_production_signature_starts_no_debug_enclave(machine: Machine, production: Image, tmp_path: Path) -> None:
    image = EnclaveImage.load(production[0])
    manifest = replace(image.manifest, debug=True)
    from adyton.enclave.measure import measure  # noqa: PLC0415  # for this case only

    signature = sign(
        measure(manifest), new_signer(), debug=False, isvprodid=0, isvsvn=0, signed_on=datetime.now(UTC).date()
    )
    entries = [
        TarEntry(MANIFEST_PATH[1:], content=manifest.to_json()),
        TarEntry(SIGSTRUCT_PATH[1:], content=signature.to_bytes()),
    ]
    with pytest.raises(LaunchRefusedError) as caught:
        machine.run(_change(production[0], tmp_path / "changed", entries))
    assert caught.value.code == "platform.sgx.invalid_attribute"


def test_a_damaged_signature_is_refused(machine: Machine, production: Image, tmp_path: Path) -> None:
    signature = EnclaveImage.load(production[0]).sigstruct
    broken = replace(signature, date=bytes(4)).to_bytes()
    changed = _change(production[0], tmp_path / "changed", [TarEntry(SIGSTRUCT_PATH[1:], content=broken)])
    with pytest.raises(LaunchRefusedError) as caught:
        machine.run(changed)
    assert caught.value.code == "platform.sgx.invalid_signature"


def test_an_image_without_python_runs_with_the_agent_s_own(machine: Machine, tmp_path: Path) -> None:
    program = Path("/bin/cat").resolve()
    libraries, loader = shared_libraries([program])
    entries = [
        TarEntry("bin/cat", content=program, executable=True),
        TarEntry("etc/motd", content=b"welcome"),
        TarEntry(str(loader)[1:], content=loader.resolve(), executable=True),
        *(TarEntry(str(path)[1:], content=path.resolve()) for path in libraries.values()),
    ]
    write_layout(tmp_path / "native", [deterministic_tar(entries)], ImageConfig(entrypoint=("/bin/cat", "/etc/motd")))
    layout, _image = enclave(tmp_path / "native", tmp_path, config="none")
    outcome = machine.run(layout)
    assert (outcome.stdout, outcome.stderr, outcome.status.code) == ("welcome", "", 0)


def test_a_native_image_is_no_enclave(machine: Machine, native: Path) -> None:
    with pytest.raises(LaunchRefusedError) as caught:
        machine.run(native)
    assert caught.value.code == "enclave.manifest.missing"
    assert "sconify_iexec" in caught.value.hint


def test_a_damaged_blob_is_refused(tmp_path: Path, debug: Image) -> None:
    layout = tmp_path / "layout"
    shutil.copytree(debug[0], layout)
    largest = max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    with largest.open("r+b") as stream:
        stream.seek(4_000_000)
        stream.write(b"damage")
    with running_daemon(tmp_path / "machine") as machine:
        with pytest.raises(LaunchRefusedError) as caught:
            machine.run(layout)
        assert caught.value.code.startswith("content.")
        assert list((machine.state / "images").iterdir()) == []


def test_host_paths_are_what_the_manifest_allows(machine: Machine, debug: Image, tmp_path: Path) -> None:
    folder, hosts = tmp_path / "folder", tmp_path / "hosts"
    folder.mkdir()
    (folder / "note").write_text("from outside")
    hosts.write_text("127.0.0.1 here")
    paths = {"/data": folder, "/etc/hosts": hosts}
    outcome = machine.run(debug[0], args=("files", "/data/note", "/etc/hosts", "/etc/shadow"), host_paths=paths)
    assert outcome.stdout.splitlines() == ["/data/note from outside", "/etc/hosts 127.0.0.1 here", "/etc/shadow 2"]
    assert machine.run(debug[0], args=("write", "/data/new"), host_paths=paths).status.code == 0
    assert (folder / "new").read_text() == "from inside"
    with pytest.raises(LaunchRefusedError) as caught:
        machine.run(debug[0], host_paths={"/usr": folder})
    assert caught.value.code == "platform.launch.host_path"
    with pytest.raises(LaunchRefusedError) as caught:
        machine.run(debug[0], host_paths={"/data": tmp_path / "absent"})
    assert caught.value.code == "platform.launch.path"


def test_a_launch_after_mounted_files_still_measures_the_same(machine: Machine, debug: Image, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("x")
    for _time in range(2):
        assert machine.run(debug[0], args=("exit", "0"), host_paths={"/etc/hosts": tmp_path / "hosts"}).status.code == 0


def test_the_host_s_files_and_network_are_not_there(machine: Machine, debug: Image) -> None:
    secret = str(machine.state / "machine" / "fuses")
    assert machine.run(debug[0], args=("files", secret, "/proc/1/cmdline")).stdout.splitlines()[0] == f"{secret} 2"


def test_a_time_limit_ends_the_enclave(machine: Machine, debug: Image) -> None:
    outcome = machine.run(debug[0], args=("sleep",), limits=Limits(timeout_s=1.5))
    assert (outcome.status.timed_out, outcome.status.signal) == (True, signal.SIGKILL)


def test_waiting_too_long_ends_the_enclave(machine: Machine, debug: Image) -> None:
    assert machine.run(debug[0], args=("sleep",), timeout_s=1).status.timed_out


@pytest.mark.parametrize(("action", "code"), [("signal", 9), ("kill", 137)])
def test_signals_and_kill(machine: Machine, debug: Image, action: str, code: int) -> None:
    read_end, write_end = os.pipe()
    with machine.client.launch(LaunchRequest(layout=debug[0], args=("sleep",)), write_end, 2) as running:
        os.close(write_end)
        with os.fdopen(read_end) as stream:
            assert stream.readline() == "ready\n"
        assert running.poll() is None
        if action == "signal":
            running.signal(signal.SIGTERM)
        else:
            running.kill()
        assert running.wait(PATIENCE_S).code == code
        assert running.poll() is not None


def test_letting_go_of_the_connection_ends_the_enclave(machine: Machine, debug: Image) -> None:
    running = machine.client.launch(LaunchRequest(layout=debug[0], args=("sleep",)), 1, 2)
    assert machine.children
    running.close()
    until(lambda: not machine.children)


def test_stopping_the_daemon_ends_its_enclaves(tmp_path: Path, debug: Image) -> None:
    with running_daemon(tmp_path) as machine:
        running = machine.client.launch(LaunchRequest(layout=debug[0], args=("sleep",)), 1, 2)
        machine.process.send_signal(signal.SIGTERM)
        with running:
            assert running.wait(PATIENCE_S).signal == signal.SIGKILL
        assert machine.process.wait(PATIENCE_S) == 0
        with pytest.raises(UnavailableError) as caught:
            machine.client.info()
    assert caught.value.code == "platform.unavailable"


def test_killing_the_daemon_ends_its_enclaves(tmp_path: Path, debug: Image) -> None:
    with running_daemon(tmp_path) as machine:
        running = machine.client.launch(LaunchRequest(layout=debug[0], args=("sleep",)), 1, 2)
        (child,) = machine.children
        machine.process.kill()
        with running, pytest.raises(UnavailableError):
            running.wait(PATIENCE_S)
        until(lambda: not Path(f"/proc/{child}").exists() or _is_zombie(child))


def test_a_process_that_the_daemon_did_not_start_gets_nothing(machine: Machine, debug: Image) -> None:
    with pytest.raises(PlatformError) as caught:
        EnclavePlatform.from_environment({})
    assert caught.value.code == "platform.absent"
    with framing.connect(machine.state / "platform.sock", PATIENCE_S) as connection:
        framing.send(connection, {"op": "quote", "report_data": "00" * 64})
        answer = Receiver(connection).receive()
    assert answer is not None
    assert answer["error"]["code"] == "platform.launch.request"
    assert debug


def test_a_descriptor_taken_out_of_the_enclave_is_worth_nothing(machine: Machine, debug: Image) -> None:
    """The host's root steals the enclave's end of the channel with pidfd_getfd(2) and asks for a quote."""
    until(lambda: not machine.children)  # of the tests before
    read_end, write_end = os.pipe()
    with machine.client.launch(LaunchRequest(layout=debug[0], args=("sleep",)), write_end, 2):
        os.close(write_end)
        with os.fdopen(read_end) as stream:
            stream.readline()
        stolen = steal_channel(machine.children[0])
        with socket.socket(fileno=stolen) as connection:
            connection.settimeout(PATIENCE_S)
            with pytest.raises((PlatformError, UnavailableError)):
                EnclavePlatform(connection).quote(bytes(64))


def test_health_and_collateral_are_served(machine: Machine) -> None:
    info = machine.client.info()
    with urllib.request.urlopen(info.pccs_url + "/actuator/health") as answer:  # noqa: S310  # our own daemon
        assert json.load(answer) == {"status": "UP"}
    with urllib.request.urlopen(info.pccs_url + f"/sgx/certification/v4/tcb?fmspc={info.fmspc}") as answer:  # noqa: S310
        assert json.load(answer)["tcbInfo"]["fmspc"].lower() == info.fmspc
    assert info.tier == f"sim:{info.root_sha256}"


def test_a_missing_daemon_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"none\.sock"):
        PlatformClient(tmp_path / "none.sock").info()


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
