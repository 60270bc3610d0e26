"""The Gramine back end on a double of its files: real reports, quotes and keys by the simulated CPU."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from tests.platform.world import World

from adyton.attestation.formats.sgx import KeyName, KeyPolicy, KeyRequest, Report, TargetInfo
from adyton.base.secret import Secret
from adyton.platform import sealing
from adyton.platform.devicefiles import OsDeviceFiles
from adyton.platform.gramine import GraminePlatform
from adyton.platform.protocol import PlatformError, SgxError
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN, FusedSecrets, check_report

M1, M2 = b"\x01" * 32, b"\x02" * 32
DATA = bytes(range(64))
FUSES = FusedSecrets.from_bytes(Secret(bytes(range(32))))
NEWER = bytes((12,)) + DEFAULT_CPUSVN[1:]


class GramineFiles:
    """``/dev/attestation`` of one enclave: one state, reports and quotes made when read, current seal keys."""

    def __init__(self, world: World, mrenclave: bytes = M1, *, isvsvn: int = 1) -> None:
        self._world = world
        self._identity = world.enclave(mrenclave, isvsvn=isvsvn)
        self._platform = world.platform(mrenclave, isvsvn=isvsvn)
        self.written = {"user_report_data": bytes(64), "target_info": bytes(512)}
        self.contents: dict[str, bytes] = {"attestation_type": b"dcap"}
        self.missing: set[str] = set()
        self.races = 0  # so many writes of somebody else come between ours and the reading

    def read(self, path: str) -> bytes:
        if path in self.missing:
            raise FileNotFoundError(2, "No such file or directory", path)
        if path in self.contents:
            return self.contents[path]
        if path in {"report", "quote"} and self.races:
            self.races -= 1
            self.written["user_report_data"] = bytes(63) + b"!"
        match path:
            case "my_target_info":
                return self._identity.target_info().to_bytes()
            case "report":
                target = TargetInfo.parse(self.written["target_info"])
                return self._platform.report(target, self.written["user_report_data"])
            case "quote":
                return self._platform.quote(self.written["user_report_data"])
            case "keys/_sgx_mrenclave":
                return self._key(KeyPolicy.MRENCLAVE)
            case "keys/_sgx_mrsigner":
                return self._key(KeyPolicy.MRSIGNER)
        raise FileNotFoundError(2, "No such file or directory", path)

    def write(self, path: str, data: bytes) -> None:
        if path not in self.written:
            raise PermissionError(13, "Permission denied", path)
        self.written[path] = data.ljust(len(self.written[path]), b"\0")

    def make_folder(self, path: str) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    def remove_folder(self, path: str) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    def _key(self, policy: KeyPolicy) -> bytes:
        request = KeyRequest(KeyName.SEAL, policy, isvsvn=self._identity.isvsvn, cpusvn=self._world.cpu.cpusvn)
        return self._world.cpu.egetkey(self._identity, request).reveal()


@pytest.fixture(scope="module")
def world() -> World:
    return World(fuses=FUSES)


@pytest.fixture
def files(world: World) -> GramineFiles:
    return GramineFiles(world)


def code_of(action: object, *arguments: object) -> str:
    assert callable(action)
    with pytest.raises(PlatformError) as caught:
        action(*arguments)
    return caught.value.code


def test_its_quote_is_accepted_by_the_one_verifier(world: World, files: GramineFiles) -> None:
    evidence = world.verifier().verify(GraminePlatform(files).quote(DATA), world.policy(M1))
    assert (evidence.report_data, evidence.tier) == (DATA, world.anchor.tier)


def test_its_identity_is_the_enclave_s(world: World, files: GramineFiles) -> None:
    body = GraminePlatform(files).identity()
    assert (body.mrenclave, body.isvsvn, body.cpusvn) == (M1, 1, world.cpu.cpusvn)


def test_its_report_is_checked_by_the_target_that_it_names(world: World, files: GramineFiles) -> None:
    target = world.enclave(M2)
    report = Report.parse(GraminePlatform(files).report(target.target_info(), DATA))
    assert report.body.report_data == DATA
    assert check_report(world.cpu, target, report)
    assert not check_report(world.cpu, world.enclave(M1), report)


class TestSealing:
    @pytest.mark.parametrize("policy", [KeyPolicy.MRENCLAVE, KeyPolicy.MRSIGNER])
    def test_what_is_sealed_opens_again_in_another_process_of_the_enclave(
        self, world: World, policy: KeyPolicy
    ) -> None:
        blob = sealing.seal(GraminePlatform(GramineFiles(world)), b"kept", policy=policy)
        assert sealing.unseal(GraminePlatform(GramineFiles(world)), blob) == b"kept"

    def test_another_enclave_opens_only_what_is_sealed_to_the_signer(self, world: World) -> None:
        other = GraminePlatform(GramineFiles(world, M2))
        own = GraminePlatform(GramineFiles(world))
        assert sealing.unseal(other, sealing.seal(own, b"kept", policy=KeyPolicy.MRSIGNER)) == b"kept"
        with pytest.raises(sealing.SealingError):
            sealing.unseal(other, sealing.seal(own, b"kept"))

    def test_each_request_has_a_key_of_its_own(self, files: GramineFiles, world: World) -> None:
        platform = GraminePlatform(files)
        keys = {
            platform.seal_key(
                KeyRequest(KeyName.SEAL, policy, isvsvn=1, cpusvn=world.cpu.cpusvn, keyid=bytes([number]) * 32)
            ).reveal()
            for policy in (KeyPolicy.MRENCLAVE, KeyPolicy.MRSIGNER)
            for number in (0, 1)
        }
        assert len(keys) == 4
        assert not keys & {files.read("keys/_sgx_mrenclave"), files.read("keys/_sgx_mrsigner")}

    def test_a_microcode_update_makes_old_blobs_unreadable_and_says_so(self, world: World) -> None:
        blob = sealing.seal(GraminePlatform(GramineFiles(world)), b"kept")
        updated = GraminePlatform(GramineFiles(World(world.vendor, fuses=FUSES, cpusvn=NEWER)))
        assert code_of(sealing.unseal, updated, blob) == "platform.gramine.version"

    def test_blobs_of_a_newer_version_are_refused_as_the_cpu_does(self, world: World) -> None:
        newer = World(world.vendor, fuses=FUSES, cpusvn=NEWER)
        blob = sealing.seal(GraminePlatform(GramineFiles(newer)), b"kept")
        assert code_of(sealing.unseal, GraminePlatform(GramineFiles(world)), blob) == "sealing.newer"
        blob = sealing.seal(GraminePlatform(GramineFiles(world, isvsvn=2)), b"kept", policy=KeyPolicy.MRSIGNER)
        assert code_of(sealing.unseal, GraminePlatform(GramineFiles(world, isvsvn=1)), blob) == "sealing.newer"

    @pytest.mark.parametrize(
        "request_",
        [
            KeyRequest(KeyName.REPORT, KeyPolicy.MRENCLAVE),
            KeyRequest(KeyName.SEAL),
            KeyRequest(KeyName.SEAL, KeyPolicy.MRENCLAVE | KeyPolicy.MRSIGNER),
            KeyRequest(KeyName.SEAL, KeyPolicy.MRSIGNER | KeyPolicy.NOISVPRODID),
        ],
    )
    def test_other_keys_cannot_be_had(self, files: GramineFiles, request_: KeyRequest) -> None:
        assert code_of(GraminePlatform(files).seal_key, request_) == "platform.key"

    def test_a_newer_version_is_refused_with_the_code_of_the_cpu(self, files: GramineFiles) -> None:
        with pytest.raises(SgxError) as caught:
            GraminePlatform(files).seal_key(KeyRequest(KeyName.SEAL, KeyPolicy.MRENCLAVE, cpusvn=b"\xff" * 16))
        assert caught.value.sgx_code == 32


class TestRefusals:
    @pytest.mark.parametrize("kind", [b"none", b"epid", b"", b"dcapx", b"\xff\xfe"])
    def test_enclaves_without_dcap(self, files: GramineFiles, kind: bytes) -> None:
        files.contents["attestation_type"] = kind
        assert code_of(GraminePlatform, files) == "platform.gramine.type"

    def test_no_gramine(self, files: GramineFiles) -> None:
        files.missing.add("attestation_type")
        assert code_of(GraminePlatform, files) == "platform.gramine.absent"

    def test_a_file_that_goes_away(self, files: GramineFiles) -> None:
        platform = GraminePlatform(files)
        files.missing.add("quote")
        assert code_of(platform.quote, DATA) == "platform.gramine.absent"

    @pytest.mark.parametrize("size", [0, 63, 65])
    def test_report_data_of_another_length(self, files: GramineFiles, size: int) -> None:
        platform = GraminePlatform(files)
        assert code_of(platform.quote, bytes(size)) == "platform.report_data"

    def test_another_writer_between_our_write_and_the_reading(self, files: GramineFiles, world: World) -> None:
        platform = GraminePlatform(files)
        files.races = 2
        assert code_of(platform.quote, DATA) == "platform.conflict"
        assert code_of(platform.report, world.enclave(M2).target_info(), DATA) == "platform.conflict"
        assert platform.quote(DATA)

    @pytest.mark.parametrize(
        ("file", "code"),
        [
            ("report", "platform.gramine.report"),
            ("my_target_info", "platform.gramine.report"),
            ("quote", "platform.gramine.quote"),
            ("keys/_sgx_mrenclave", "platform.gramine.key"),
        ],
    )
    @pytest.mark.parametrize("content", [b"", b"x", bytes(15), bytes(8192)])
    def test_content_that_is_none(
        self, files: GramineFiles, world: World, file: str, code: str, content: bytes
    ) -> None:
        platform = GraminePlatform(files)
        files.contents[file] = content
        request = KeyRequest(KeyName.SEAL, KeyPolicy.MRENCLAVE, isvsvn=1, cpusvn=world.cpu.cpusvn)
        actions = {"quote": lambda: platform.quote(DATA), "keys/_sgx_mrenclave": lambda: platform.seal_key(request)}
        assert code_of(actions.get(file, platform.identity)) == code


def test_threads_of_one_enclave_get_their_own_quotes(world: World, tmp_path: Path) -> None:
    """On real files: what is read from ``quote`` is made when it is opened, of what was written before."""
    inner = world.platform(M1)
    for name, content in {"attestation_type": b"dcap\n", "user_report_data": bytes(64)}.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "quote")

    def kernel() -> None:
        for _ in range(8):
            with (tmp_path / "quote").open("wb") as stream:  # waits for a reader
                os.mkfifo(tmp_path / "next")
                (tmp_path / "next").rename(tmp_path / "quote")  # the next reader gets a quote of its own
                stream.write(inner.quote((tmp_path / "user_report_data").read_bytes()))

    serving = threading.Thread(target=kernel, daemon=True)
    serving.start()
    platform = GraminePlatform(OsDeviceFiles(tmp_path))
    right: list[bool] = []

    def ask(number: int) -> None:
        data = bytes([number]) * 64
        right.extend(data in platform.quote(data) for _ in range(2))

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in [*threads, serving]:
        thread.join(20)
    assert right == [True] * 8
