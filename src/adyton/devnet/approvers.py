"""Who may approve a successor of a network's SMS: said once, before its enclaves are built, and kept from then on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from adyton.base.errors import AdytonError, InputError
from adyton.base.files import write_atomic
from adyton.base.jsontext import parse_json
from adyton.devnet.paths import NetworkPaths
from adyton.enclave.errors import ManifestError
from adyton.enclave.successors import UpgradePolicy

_FILE: Final = "sms-approvers.json"


class ApproversFixedError(AdytonError):
    """The network's SMS was built for other approvers, or for none; that is measured and cannot be changed."""

    code = "devnet.upgrade.fixed"
    hint = "leave the options out, or start a fresh network with --state NEW_FOLDER"


def read_approvers(paths: NetworkPaths) -> UpgradePolicy | None:
    """The approvers of the network's SMS; None: it has none, so that nothing ever follows it.

    Raises:
        InputError: the file was changed to something else.
    """
    try:
        data = (paths.root / _FILE).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return UpgradePolicy.from_plain(parse_json(data))
    except (ValueError, RecursionError, AdytonError) as error:
        raise InputError(f"{paths.root / _FILE} cannot be understood", code="devnet.upgrade.file") from error


def fix_approvers(paths: NetworkPaths, approvers: Sequence[str], threshold: int | None) -> None:
    """Say who they are, before the network is first started.

    Args:
        paths: of the network.
        approvers: key hashes; empty: nothing is said, and what was said before stays.
        threshold: how many must approve; None: all.

    Raises:
        InputError: not key hashes, or a number that they cannot reach.
        ApproversFixedError: the network has its enclaves already, with other approvers.
    """
    if not approvers:
        if threshold is not None:
            raise InputError("--sms-approvals says how many, but no --sms-approver says who", code="devnet.upgrade.who")
        return
    try:
        policy = UpgradePolicy(tuple(sorted(approvers)), len(approvers) if threshold is None else threshold)
    except ManifestError as error:
        raise InputError(
            f"--sms-approver, --sms-approvals: {error.message}",
            code="devnet.upgrade.who",
            hint="'adyton cas identity' prints the key hash of an approver",
        ) from error
    if (paths.images / "sms-production").is_dir() and read_approvers(paths) != policy:
        raise ApproversFixedError(f"the SMS of the network in {paths.root} was built for other approvers, or for none")
    write_atomic(paths.root / _FILE, json.dumps(policy.to_plain(), indent=2).encode() + b"\n")
