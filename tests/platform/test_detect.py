"""Choosing the platform that a process runs on."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from adyton.platform.client import PLATFORM_FD, EnclavePlatform
from adyton.platform.detect import enclave_platform, evidence_source
from adyton.platform.gramine import GraminePlatform
from adyton.platform.protocol import PlatformError
from adyton.platform.tdx import TdxPlatform


@pytest.fixture
def gramine(tmp_path: Path) -> Path:
    (tmp_path / "attestation_type").write_bytes(b"dcap")
    return tmp_path


@pytest.mark.filterwarnings("ignore:unclosed")  # the platform keeps its descriptor for the life of a process
def test_the_descriptor_of_the_platform_that_started_it(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        platform = enclave_platform({PLATFORM_FD: str(theirs.detach())}, gramine_folder=tmp_path)
        assert isinstance(platform, EnclavePlatform)


def test_no_environment_replaces_the_cpu_of_a_gramine_enclave(gramine: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        platform = enclave_platform({PLATFORM_FD: str(theirs.fileno())}, gramine_folder=gramine)
        assert isinstance(platform, GraminePlatform)


def test_a_gramine_enclave_without_attestation_is_not_taken_for_a_simulated_one(gramine: Path) -> None:
    (gramine / "attestation_type").write_bytes(b"none")
    with pytest.raises(PlatformError) as caught:
        enclave_platform({PLATFORM_FD: "0"}, gramine_folder=gramine)
    assert caught.value.code == "platform.gramine.type"


def test_no_enclave_at_all(tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as caught:
        enclave_platform({}, gramine_folder=tmp_path)
    assert caught.value.code == "platform.absent"


def test_evidence_comes_from_the_trust_domain_before_anything_that_the_environment_names(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    source = evidence_source({PLATFORM_FD: "0"}, gramine_folder=tmp_path, tdx_folder=tmp_path / "report")
    assert isinstance(source, TdxPlatform)


def test_evidence_comes_from_the_enclave_where_there_is_no_trust_domain(gramine: Path) -> None:
    source = evidence_source({}, gramine_folder=gramine, tdx_folder=gramine / "report")
    assert isinstance(source, GraminePlatform)


def test_a_machine_without_either_makes_no_evidence(tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as caught:
        evidence_source({}, gramine_folder=tmp_path, tdx_folder=tmp_path / "report")
    assert caught.value.code == "platform.absent"
