"""The TDX back end on a double of the kernel's report interface: quotes by the simulated quoting enclave of TDs."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.platform.world import World

from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.formats.sgx import KeyName, KeyRequest, TargetInfo
from adyton.attestation.formats.tdx import TdReport
from adyton.attestation.policy import QuotePolicy
from adyton.platform.protocol import PlatformError
from adyton.platform.tdx import TdxPlatform

DATA = bytes(range(64))


class ReportInterface:
    """``configfs-tsm`` as its ABI documentation has it: a folder is a report, a write raises its generation."""

    def __init__(self, quote: Callable[[bytes], bytes]) -> None:
        self._quote = quote
        self.items: dict[str, tuple[int, bytes]] = {}  # generation and inblob
        self.made: list[str] = []
        self.provider = b"tdx_guest\n"
        self.races = 0  # so many writes of somebody else come between ours and the reading
        self.failure: OSError | None = None
        self.deaf = False  # does not take what is written, and cannot say so

    def make_folder(self, path: str) -> None:
        if path in self.items:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self.items[path] = (0, b"")
        self.made.append(path)

    def remove_folder(self, path: str) -> None:
        del self.items[path]

    def write(self, path: str, data: bytes) -> None:
        name, _, file = path.partition("/")
        if file != "inblob":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        if len(data) > 64:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        if not self.deaf:
            self.items[name] = (self.items[name][0] + 1, data)

    def read(self, path: str) -> bytes:
        name, _, file = path.partition("/")
        generation, data = self.items[name]
        match file:
            case "provider":
                return self.provider
            case "generation":
                return b"%d\n" % generation
            case "outblob":
                return self._report(name, data)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    def _report(self, name: str, data: bytes) -> bytes:
        if self.failure is not None:
            raise self.failure
        if self.races:
            self.races -= 1
            self.write(f"{name}/inblob", bytes(64))
            if self.races % 2:
                raise OSError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
            data = bytes(64)
        if not data:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return self._quote(data)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture
def files(world: World) -> ReportInterface:
    return ReportInterface(world.td_quote)


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(PlatformError) as caught:
        action()
    return caught.value.code


def test_its_quote_is_accepted_by_the_one_verifier(world: World, files: ReportInterface) -> None:
    quote = TdxPlatform(files).quote(DATA)
    body = parse_quote(quote).body
    assert isinstance(body, TdReport)
    policy = QuotePolicy(anchors=(world.anchor,), mrtds=frozenset({body.mrtd}))
    assert world.verifier().verify(quote, policy).report_data == DATA


def test_a_real_quote_passes_through_whole(evidence: Path) -> None:
    real = (evidence / "tdx_quote").read_bytes()
    files = ReportInterface(lambda _data: real)
    data = parse_quote(real).body.report_data
    assert TdxPlatform(files).quote(data) == real
    assert code_of(lambda: TdxPlatform(files).quote(DATA)) == "platform.conflict"


def test_its_identity_is_the_domain_s(world: World, files: ReportInterface) -> None:
    body = parse_quote(world.td_quote(bytes(64))).body
    assert TdxPlatform(files).identity() == body


def test_each_quote_has_a_report_of_its_own_that_is_removed(files: ReportInterface) -> None:
    platform = TdxPlatform(files)
    for _ in range(3):
        platform.quote(DATA)
    assert len(set(files.made)) == 3
    assert files.items == {}


def test_a_write_of_others_is_noticed_and_the_quote_made_again(files: ReportInterface) -> None:
    files.races = 2
    assert parse_quote(TdxPlatform(files).quote(DATA)).body.report_data == DATA


@pytest.mark.parametrize("races", [3, 30])
def test_writes_of_others_without_end_are_refused(files: ReportInterface, races: int) -> None:
    files.races = races
    assert code_of(lambda: TdxPlatform(files).quote(DATA)) == "platform.conflict"
    assert files.items == {}


@pytest.mark.parametrize("provider", [b"sev_guest\n", b"", b"tdx_guest2", b"\xff"])
def test_another_technology_is_refused(files: ReportInterface, provider: bytes) -> None:
    files.provider = provider
    assert code_of(lambda: TdxPlatform(files).quote(DATA)) == "platform.tdx.provider"
    assert files.items == {}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENXIO, errno.EINVAL, errno.EACCES])
def test_a_failure_of_the_kernel_is_told(files: ReportInterface, number: int) -> None:
    files.failure = OSError(number, os.strerror(number))
    with pytest.raises(PlatformError, match=os.strerror(number)) as caught:
        TdxPlatform(files).quote(DATA)
    assert caught.value.code == "platform.tdx.file"
    assert ("quote generation service" in (caught.value.hint or "")) == (number in {errno.EIO, errno.ENXIO})
    assert files.items == {}


def test_a_write_that_is_not_taken_is_told(files: ReportInterface) -> None:
    files.deaf = True
    with pytest.raises(PlatformError, match="did not take the report data") as caught:
        TdxPlatform(files).quote(DATA)
    assert caught.value.code == "platform.tdx.file"
    assert files.items == {}


def test_a_system_that_is_no_trust_domain(files: ReportInterface) -> None:
    files.failure = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    assert code_of(lambda: TdxPlatform(files).quote(DATA)) == "platform.tdx.absent"


@pytest.mark.parametrize("content", [b"", b"no quote", bytes(4096)])
def test_what_is_no_quote_is_refused(content: bytes) -> None:
    files = ReportInterface(lambda _data: content)
    assert code_of(lambda: TdxPlatform(files).quote(DATA)) == "platform.tdx.quote"


def test_an_enclave_s_quote_is_no_identity_of_a_domain(world: World) -> None:
    files = ReportInterface(world.platform(b"\x01" * 32).quote)
    assert code_of(TdxPlatform(files).identity) == "platform.tdx.quote"


@pytest.mark.parametrize("size", [0, 63, 65])
def test_report_data_of_another_length(files: ReportInterface, size: int) -> None:
    assert code_of(lambda: TdxPlatform(files).quote(bytes(size))) == "platform.report_data"


def test_it_says_that_it_has_no_reports_and_seal_keys(world: World, files: ReportInterface) -> None:
    target: TargetInfo = world.enclave(b"\x01" * 32).target_info()
    assert code_of(lambda: TdxPlatform(files).report(target, DATA)) == "platform.tdx.unsupported"
    assert code_of(lambda: TdxPlatform(files).seal_key(KeyRequest(KeyName.SEAL))) == "platform.tdx.unsupported"
