"""Which platform this process runs on: hardware where its interface is there, else the one that started it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from adyton.platform import gramine, tdx
from adyton.platform.client import EnclavePlatform
from adyton.platform.devicefiles import OsDeviceFiles
from adyton.platform.protocol import Platform
from adyton.platform.tdx import TdxPlatform


def enclave_platform(environment: Mapping[str, str] = os.environ, *, gramine_folder: Path = gramine.FOLDER) -> Platform:
    """The platform of the enclave that this process is in.

    Gramine is asked first: in its enclaves the environment may come from the host, which must not be able to put a
    platform of its own in the place of the CPU.

    Raises:
        PlatformError: ``platform.absent``: this process is in no enclave; or the platform's own reason.
    """
    if (gramine_folder / "attestation_type").exists():
        return gramine.GraminePlatform(OsDeviceFiles(gramine_folder))
    return EnclavePlatform.from_environment(environment)


def evidence_source(
    environment: Mapping[str, str] = os.environ,
    *,
    gramine_folder: Path = gramine.FOLDER,
    tdx_folder: Path = tdx.FOLDER,
) -> Platform | TdxPlatform:
    """What quotes for this process: its enclave's platform, or that of the trust domain that it runs in.

    Raises:
        PlatformError: ``platform.absent``: neither; or the platform's own reason.
    """
    if tdx_folder.is_dir():
        return TdxPlatform(OsDeviceFiles(tdx_folder))
    return enclave_platform(environment, gramine_folder=gramine_folder)
