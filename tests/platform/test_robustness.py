"""The daemon under hostile and careless callers: it answers with a typed refusal, forgets nothing open, and goes on."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.platform.machine import Machine, build_native, enclave, running_daemon
from tests.waiting import PATIENCE_S, until

from adyton.base.errors import AdytonError
from adyton.platform import framing
from adyton.platform.client import LaunchRefusedError, LaunchRequest, PlatformClient, PlatformInfo
from adyton.platform.framing import FramingError, Receiver
from adyton.platform.protocol import Platform
from adyton.platform.simulated.daemon import PlatformDaemon
from adyton.platform.simulated.request import RequestError, parse, parse_prepare

_APP = """
import os, sys, time

sys.path.append("/.adyton/runtime/site")
verb = sys.argv[1]
if verb == "sleep":
    print("ready", flush=True)
    time.sleep(60)
elif verb == "seal":
    from adyton.platform.client import EnclavePlatform
    from adyton.attestation.formats.sgx import KeyName, KeyPolicy, KeyRequest
    platform = EnclavePlatform.from_environment()
    print(platform.seal_key(KeyRequest(KeyName.SEAL, keypolicy=KeyPolicy.MRENCLAVE)).reveal().hex())
    for request in (KeyRequest(KeyName.REPORT), KeyRequest(KeyName.SEAL, keypolicy=1, isvsvn=9)):
        try:
            platform.seal_key(request)
        except Exception as error:
            print(error)
elif verb == "hostile":  # an enclave may be anybody's
    import json, socket, struct
    with socket.socket(fileno=int(os.environ["ADYTON_PLATFORM_FD"])) as channel:
        body = bytes.fromhex(sys.argv[2])
        fds = [1] * int(sys.argv[3])
        try:
            socket.send_fds(channel, [struct.pack(">I", len(body)) + body], fds)
            print(channel.recv(100)[:30])
        except OSError as error:
            print("closed", error.errno)
"""

SLOTS = 2


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    with running_daemon(folder, max_enclaves=SLOTS, log_level="debug") as running:
        yield running


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    return enclave(build_native(folder, {"app.py": _APP}), folder, config="none")[0]


def exchange(machine: Machine, data: bytes, descriptors: int = 0) -> dict[str, Any] | None:
    """Send bytes on a new connection; the answer, None where the daemon only hung up."""
    with framing.connect(machine.state / "platform.sock", 20) as connection:
        try:
            if descriptors:
                socket.send_fds(connection, [data], [2] * descriptors)
            else:
                connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return Receiver(connection).receive()
        except (FramingError, OSError):
            return None


def framed(message: object) -> bytes:
    body = json.dumps(message).encode()
    return struct.pack(">I", len(body)) + body


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
_NAMES = ("op", "layout", "environment", "volumes", "host_paths", "args", "cas_address", "limits", "number", "extra")
_MESSAGES = st.dictionaries(st.sampled_from(_NAMES), _JSON, max_size=9).map(
    lambda message: message | {"op": message.get("op", "launch")}
)
_WELL_FORMED = LaunchRequest(layout=Path("/image")).to_message()
_LIMITED = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


class TestRequests:
    """The parser of messages, which alone stands between a caller and the daemon."""

    @given(_MESSAGES)
    def test_any_message_is_a_request_or_refused(self, message: dict[str, Any]) -> None:
        for parser in (parse, parse_prepare):
            try:
                parser(message)
            except RequestError as error:
                assert error.code == "platform.launch.request"  # noqa: PT017  # most messages, not all, raise
                assert len(error.message) < 3000  # noqa: PT017  # likewise

    @given(st.sampled_from(sorted(_WELL_FORMED)), _JSON)
    def test_any_value_of_any_member_is_a_request_or_refused(self, name: str, value: object) -> None:
        try:
            parsed = parse(_WELL_FORMED | {name: value})
        except RequestError:
            return
        assert parsed.layout.startswith("/")

    @pytest.mark.parametrize(
        "change",
        [
            {"layout": "image"},
            {"layout": ""},
            {"layout": "/a\0b"},
            {"layout": "/\ud800"},
            {"layout": "/" + "a" * 5000},
            {"args": ["\ud800"]},
            {"args": ["x"] * 1001},
            {"environment": {f"A{number}": "" for number in range(1001)}},
            {"limits": {"timeout_s": float("inf")}},
            {"limits": {"timeout_s": float("nan")}},
            {"limits": {"timeout_s": 1e300}},
            {"limits": {"memory_bytes": 1 << 70}},
            {"limits": {"processes": 1 << 40}},
            {"limits": {"cpu_s": True}},
        ],
        ids=lambda change: repr(change)[:40],
    )
    def test_values_that_no_system_call_takes_are_refused_here(self, change: dict[str, Any]) -> None:
        with pytest.raises(RequestError):
            parse(_WELL_FORMED | change)


class TestHostileCallers:
    def test_any_bytes_leave_the_daemon_alive(self, machine: Machine) -> None:
        @_LIMITED
        @given(st.binary(max_size=200))
        def check(data: bytes) -> None:
            answer = exchange(machine, data)
            assert answer is None or answer["error"]["code"].startswith("platform.")

        check()
        assert machine.client.info().tier.startswith("sim:")

    def test_any_json_is_answered_with_a_typed_refusal(self, machine: Machine) -> None:
        @_LIMITED
        @given(_MESSAGES, st.integers(0, 4))
        def check(message: dict[str, Any], descriptors: int) -> None:
            answer = exchange(machine, framed(message), descriptors)
            assert answer is not None
            assert answer["error"]["code"] in {"platform.launch.request", "platform.message"}

        check()
        assert "platform.internal" not in machine.log
        assert "request failed" not in machine.log

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (struct.pack(">I", 1 << 31), "platform.message"),
            (struct.pack(">I", (1 << 20) + 1), "platform.message"),
            (framed([]), "platform.message"),
            (struct.pack(">I", 60000) + b"[" * 60000, "platform.message"),
            (struct.pack(">I", 3) + b"{", "platform.message"),
            (framed({"op": "launch"}), "platform.launch.request"),
            (framed({"op": "info", "more": 1}), "platform.launch.request"),
            (framed(_WELL_FORMED), "platform.launch.request"),
            (framed({"op": "launch", "x" * 900_000: 1}), "platform.launch.request"),
        ],
        ids=["2 GB", "too long", "a list", "deep", "cut", "empty launch", "extra", "no output", "a long name"],
    )
    def test_what_is_wrong_is_said(self, machine: Machine, data: bytes, code: str) -> None:
        answer = exchange(machine, data)
        assert answer is not None
        assert answer["error"]["code"] == code

    @pytest.mark.parametrize(("descriptors", "code"), [(1, "platform.launch.request"), (5, "platform.message")])
    def test_a_launch_comes_with_two_descriptors(self, machine: Machine, descriptors: int, code: str) -> None:
        answer = exchange(machine, framed(_WELL_FORMED), descriptors)
        assert answer is not None
        assert answer["error"]["code"] == code

    @pytest.mark.parametrize("number", [9, 0, -1, 1.5, True, None, [15], "15", 1 << 40])
    def test_a_running_enclave_takes_only_signals_that_are_harmless(
        self, machine: Machine, layout: Path, number: object
    ) -> None:
        with framing.connect(machine.state / "platform.sock", 20) as connection:
            message = LaunchRequest(layout=layout, args=("sleep",)).to_message()
            framing.send(connection, message, (1, 2))
            receiver = Receiver(connection)
            assert "started" in (receiver.receive() or {})
            framing.send(connection, {"op": "signal", "number": number})
            answer = receiver.receive()
        assert answer is not None
        assert answer["error"]["code"] == "platform.launch.request"
        until(lambda: not machine.children)  # who talks nonsense to its enclave loses it

    def test_slow_callers_hold_up_nobody(self, machine: Machine) -> None:
        path = machine.state / "platform.sock"
        with ExitStack() as stack:
            for _caller in range(20):
                connection = stack.enter_context(framing.connect(path, 20))
                connection.send(b"\0")
            started = time.monotonic()
            assert machine.client.info().fmspc
            assert time.monotonic() - started < 20  # they are given 30 s

    def test_more_callers_than_it_attends_to_are_told_so(self, machine: Machine) -> None:
        threads = machine.threads
        with ExitStack() as stack:
            silent = [
                stack.enter_context(framing.connect(machine.state / "platform.sock", 20))
                for _caller in range(SLOTS + 64 + 10)
            ]
            for connection in silent[-5:]:
                answer = Receiver(connection).receive(20)
                assert answer is not None
                assert answer["error"]["code"] == "platform.busy"
        until(lambda: machine.threads <= threads)
        assert machine.client.info().fmspc


class TestHostileEnclaves:
    @pytest.mark.parametrize(
        ("body", "descriptors"),
        [(b"[]", 0), (b"{", 0), (b"\xff", 0), (b"[" * 1000, 0), (b'{"op":"identity"}', 1), (b'{"op":"identity"}', 100)],
        ids=["a list", "cut", "no text", "deep", "a descriptor", "many descriptors"],
    )
    def test_an_enclave_that_breaks_the_protocol_is_hung_up_on(
        self, machine: Machine, layout: Path, body: bytes, descriptors: int
    ) -> None:
        before = machine.descriptors
        outcome = machine.run(layout, args=("hostile", body.hex(), str(descriptors)))
        assert outcome.stdout.strip() in {"closed 104", "closed 32", "b''"}, outcome.stderr
        until(lambda: machine.descriptors <= before)

    @pytest.mark.parametrize(
        "message",
        [
            {"op": "nothing"},
            {"op": "quote"},
            {"op": "quote", "report_data": "zz"},
            {"op": "quote", "report_data": "00"},
            {"op": "quote", "report_data": 7},
            {"op": "seal_key", "request": "00"},
            {"op": "seal_key", "request": "ff" * 512},
            {"op": "report", "target_info": "00" * 512},
            {"op": "identity", "more": 1},
        ],
        ids=str,
    )
    def test_a_wrong_request_is_refused_with_a_code(
        self, machine: Machine, layout: Path, message: dict[str, object]
    ) -> None:
        outcome = machine.run(layout, args=("hostile", json.dumps(message).encode().hex(), "0"))
        assert b'{"error":{"code":"'.decode() in outcome.stdout, outcome.stderr


class TestPlaces:
    def test_no_more_enclaves_than_set_run_at_one_time(self, machine: Machine, layout: Path) -> None:
        request = LaunchRequest(layout=layout, args=("sleep",))
        threads = machine.threads
        with ExitStack() as stack:
            for _slot in range(SLOTS):
                stack.enter_context(machine.client.launch(request, 1, 2))
            with pytest.raises(LaunchRefusedError) as caught:
                machine.client.launch(request, 1, 2)
            assert caught.value.code == "platform.launch.busy"
            assert machine.client.info().fmspc  # everything else is still answered
        until(lambda: machine.threads <= threads)
        assert machine.run(layout, args=("seal",)).status.code == 0

    def test_nothing_stays_open_after_launches_and_refusals(self, machine: Machine, layout: Path) -> None:
        machine.run(layout, args=("seal",))  # what is opened once is open now
        until(lambda: not machine.children)
        descriptors, threads = machine.descriptors, machine.threads
        for number in range(50):
            if number % 10 == 0:
                machine.run(layout, args=("seal",))
            elif number % 2:
                exchange(machine, framed(_WELL_FORMED), 4)
            else:
                with pytest.raises(AdytonError):
                    machine.run(layout, environment={"NOT_ALLOWED": "x"})
        until(lambda: machine.descriptors <= descriptors)
        until(lambda: machine.threads <= threads)

    def test_no_folders_are_left_behind(self, machine: Machine, layout: Path) -> None:
        machine.run(layout, args=("seal",))
        until(lambda: not list((machine.state.parent / "tmp").iterdir()))


class TestSecrets:
    def test_no_secret_is_in_logs_or_answers(self, machine: Machine, layout: Path) -> None:
        """The canary: the fuses and a seal key are in no line of the log and in no error that anybody was told."""
        outcome = machine.run(layout, args=("seal",))
        seal_key, *errors = outcome.stdout.splitlines()
        assert len(errors) == 2
        answers = [exchange(machine, framed(message)) for message in ({"op": "fuses"}, {"op": "launch", "layout": "/"})]
        told = machine.log + "".join(errors) + repr(answers) + outcome.stderr
        fuses = (machine.state / "machine" / "fuses").read_bytes()
        assert (machine.state / "machine" / "fuses").stat().st_mode & 0o777 == 0o600
        secrets = {"provisioning": fuses[:16], "sealing": fuses[16:], "seal key": bytes.fromhex(seal_key)}
        assert "enclave started" in told
        for what, secret in secrets.items():
            for form in (secret.hex(), base64.b64encode(secret).decode(), repr(secret)[2:-1]):
                assert form.lower() not in told.lower(), what


class TestSocketAndState:
    def test_socket_and_state_are_the_users_own(self, machine: Machine) -> None:
        assert (machine.state / "platform.sock").stat().st_mode & 0o777 == 0o600
        assert machine.state.stat().st_mode & 0o777 == 0o700

    def test_a_second_daemon_on_the_same_state_is_refused(self, machine: Machine) -> None:
        done = _start(machine.state.parent, machine.state, "second.sock")
        assert done.returncode == 1
        assert "platform.state.in_use" in done.stderr
        assert str(machine.process.pid) in done.stderr
        assert not (machine.state.parent / "second.sock").exists()
        assert machine.client.info().fmspc

    def test_a_second_daemon_on_the_same_socket_is_refused(self, machine: Machine, tmp_path: Path) -> None:
        done = _start(tmp_path, tmp_path / "other", str(machine.state / "platform.sock"))
        assert done.returncode == 1
        assert "platform.socket" in done.stderr
        assert machine.client.info().fmspc

    @pytest.mark.parametrize("kind", ["link", "file"])
    def test_something_else_in_the_sockets_place_is_refused(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "platform.sock"
        path.symlink_to(tmp_path / "elsewhere") if kind == "link" else path.write_text("mine")
        done = _start(tmp_path, tmp_path / "state", str(path))
        assert done.returncode == 1
        assert "platform.socket" in done.stderr
        assert "Traceback" not in done.stderr
        assert path.is_symlink() or path.read_text() == "mine"

    def test_a_killed_daemon_leaves_nothing_in_its_successors_way(self, tmp_path: Path) -> None:
        with running_daemon(tmp_path) as machine:
            tier = machine.client.info().tier
            machine.process.kill()
            machine.process.wait()
            assert (tmp_path / "state" / "platform.sock").exists()
            assert (tmp_path / "state" / "platform.lock").exists()
        config = tmp_path / "platform.toml"
        with subprocess.Popen(
            [sys.executable, "-m", "adyton.platform.simulated.main", "--config", str(config)], stderr=subprocess.DEVNULL
        ) as again:
            client = PlatformClient(tmp_path / "state" / "platform.sock")
            until(lambda: _tier(client) == tier)
            again.send_signal(signal.SIGTERM)
            assert again.wait(PATIENCE_S) == 0
        assert not (tmp_path / "state" / "platform.sock").exists()

    def test_another_user_who_can_reach_the_socket_is_refused(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("needs root to become another user")
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            path = Path(folder) / "x.sock"
            daemon = PlatformDaemon(_NoMachine(), None, None)  # type: ignore[arg-type]  # nothing is launched
            serving = threading.Thread(target=daemon.serve, args=(path,))
            serving.start()
            try:
                until(path.exists)
                path.chmod(0o666)
                code = (
                    "import os; from pathlib import Path; from adyton.platform.client import *\n"
                    "os.setgid(65534); os.setuid(65534)\n"
                    f"try: PlatformClient(Path({str(path)!r})).info()\n"
                    "except PlatformError as error: print(error.code)"
                )
                done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
                assert done.stdout.strip() == "platform.peer", done.stderr
                assert PlatformClient(path).info() == _NoMachine.INFO
            finally:
                daemon.stop()
                serving.join(PATIENCE_S)


class _NoMachine:
    """A machine that says what it is, and starts nothing."""

    INFO = PlatformInfo("sim:0", "00", "00", "http://none.invalid")

    def info(self) -> PlatformInfo:
        return self.INFO

    def initialise(self, *_arguments: object) -> Platform:
        raise AssertionError("nothing is launched")


def _tier(client: PlatformClient) -> str:
    try:
        return client.info().tier
    except AdytonError:
        return ""


def _start(folder: Path, state: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Start a daemon that is to give up."""
    config = folder / "second.toml"
    config.write_text(f'state = "{state}"\nport = 0\nsocket = "{folder / name}"\n')
    return subprocess.run(
        [sys.executable, "-m", "adyton.platform.simulated.main", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
