"""Where collateral comes from on this machine: the store of imported copies, and certificate services."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from adyton.attestation.collateral.documents import Collateral, PlatformId
from adyton.attestation.collateral.pccs import PccsClient
from adyton.attestation.errors import AttestationError
from adyton.base.errors import AdytonError, InputError, UnavailableError
from adyton.devnet import supervision
from adyton.devnet.network import Network
from adyton.devnet.paths import NetworkPaths

INTEL_PCS: Final = "https://api.trustedservices.intel.com"

_URL = re.compile(r"https?://[^\s/?#]+(?:/[^\s?#]*)?")


def store_folder(chosen: Path | None) -> Path:
    """The folder of imported collateral: the one given, else ``ADYTON_COLLATERAL``, else the user's data folder."""
    if chosen is not None:
        return chosen.expanduser()
    named = os.environ.get("ADYTON_COLLATERAL")
    if named:
        return Path(named).expanduser()
    home = os.environ.get("XDG_DATA_HOME")  # XDG Base Directory Specification: a relative one is to be ignored
    base = Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "share"
    return base / "adyton" / "collateral"


def service_for(wanted: PlatformId, tier: str, *, pccs: str | None, offline: bool, state: Path | None) -> str:
    """The certificate service to ask for collateral.

    Args:
        wanted: of which platforms.
        tier: of the root that their evidence claims; decides whom to ask when nobody is named.
        pccs: the service that the person names.
        offline: whether the person forbids to ask any.
        state: folder of a local network, as for ``adyton status``.

    Raises:
        AttestationError: ``attestation.collateral.absent``: there is none to ask.
    """
    if offline:
        raise absent(wanted, "--offline forbids to fetch it")
    if pccs is not None:
        return pccs
    if tier == "intel":
        return INTEL_PCS
    url = _local_service(state, tier)
    if url is None:
        raise absent(
            wanted,
            f"its root {tier} is no vendor's, so no service is known that has it",
            "name the platform's certificate service with --pccs (a network of this machine has it at "
            "http://127.0.0.1:8042), or give its collateral with --collateral",
        )
    return url


def fetch(url: str, wanted: PlatformId) -> Collateral:
    """Fetch collateral, unverified, from a certificate service.

    Raises:
        AttestationError: ``attestation.collateral.absent``, or ``.format``: the answer cannot be read.
        InputError: ``input.url``.
    """
    if not _URL.fullmatch(url):
        raise InputError(
            f"{url[:80]!r} is not the address of a certificate service",
            code="input.url",
            hint="write http[s]://host[:port]",
        )
    client = PccsClient(url.rstrip("/"))
    try:
        return client.fetch(wanted.fmspc, wanted.ca, wanted.kind)
    except UnavailableError as error:
        raise absent(wanted, f"none could be fetched: {error.message}") from error
    finally:
        client.close()


def absent(wanted: PlatformId, why: str, hint: str = "") -> AttestationError:
    """That there is no collateral, and everything that helps."""
    bring = (
        "give it with --collateral, name a certificate service with --pccs, or bring it from a host with a network: "
        f"there 'adyton collateral export --kind {wanted.kind.value} --fmspc {wanted.fmspc} --ca {wanted.ca.value} "
        "--out FILE', here 'adyton collateral import FILE'"
    )
    return AttestationError(
        f"there is no collateral for {wanted}: {why}", code="attestation.collateral.absent", hint=hint or bring
    )


def _local_service(state: Path | None, tier: str) -> str | None:
    """The certificate service of a network that runs on this machine, if its platform has this tier."""
    root = (state or Path(os.environ.get("ADYTON_HOME") or Path.home() / ".adyton")).expanduser()
    if not root.is_dir():
        return None  # looking for a network must not make its folder
    paths = NetworkPaths.of(root)
    word = supervision.read(paths)
    if word is None or not word.alive():
        return None
    try:
        if Network.read(paths).tier != tier:
            return None
    except AdytonError:
        return None
    return next((service.endpoint for service in word.services if service.name == "platform"), None)
