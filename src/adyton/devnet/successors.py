"""A new release of a network's SMS: built beside the present one, taken up at a start once it is approved in the CAS.

The images are ``sms-production.next`` and ``sms-debug.next`` until then. The image that went before is kept as
``sms-production.`` and the beginning of its measurement: whoever approves compares with it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adyton.base.errors import NotFoundError
from adyton.chain.deploy import read_deployment
from adyton.chain.rpc import Rpc
from adyton.devnet.approvers import read_approvers
from adyton.devnet.images import TOLERATED, BuiltImage, build_core_images, build_service_images, built
from adyton.devnet.network import Network
from adyton.devnet.paths import NetworkPaths
from adyton.devnet.services import sms_session

NEXT: Final = ".next"
_SHOWN: Final = 16


class NoSuccessorError(NotFoundError):
    """Nothing can follow this network's SMS."""

    code = "devnet.upgrade.none"
    hint = "only a network that was first started with 'adyton up --sms-approver KEYHASH' has an SMS with approvers"


@dataclass(frozen=True, slots=True)
class Successor:
    """A built successor that waits.

    Attributes:
        session: of the SMS in the CAS.
        predecessor: MRENCLAVE (hex) of the image that the network has.
        image: the successor's.
    """

    session: str
    predecessor: str
    image: BuiltImage


def build_successors(paths: NetworkPaths, say: Callable[[str], None] = lambda _line: None) -> list[Successor]:
    """Build both SMS from the source as it is now, beside the present ones; the network must run.

    Returns:
        Those whose measurement is another one than the present one's.

    Raises:
        NoSuccessorError: the network's SMS has no approvers.
        NotFoundError: no network was ever started here.
        UnavailableError: its chain does not answer.
    """
    if read_approvers(paths) is None:
        raise NoSuccessorError(f"the SMS of the network in {paths.root} was built without approvers")
    network = Network.read(paths)
    rpc = Rpc(network.rpc)
    deployment = read_deployment(rpc)
    rpc.close()
    if deployment is None:
        raise NotFoundError(f"the chain at {network.rpc} has no contracts", code="devnet.upgrade.chain")
    for role in TOLERATED:
        shutil.rmtree(_folder(paths, role, NEXT), ignore_errors=True)
    core = build_core_images(paths, network.tier)
    images = build_service_images(paths, deployment, network.tier, core, say, edition=NEXT)
    found = []
    for role, image in images.sms.items():
        present = built(_folder(paths, role)).mrenclave
        if image.mrenclave == present:
            shutil.rmtree(image.layout)
        else:
            found.append(Successor(sms_session(role), present, image))
    return found


def image_in_place(
    paths: NetworkPaths, role: str, line: Mapping[str, Any], say: Callable[[str], None] = lambda _line: None
) -> BuiltImage:
    """The image to start the SMS of ``role`` from: the successor's where the CAS lets it take the place.

    Args:
        paths: of the network.
        role: of the SMS.
        line: what became of the session's enclaves, as the CAS says.
        say: called where a successor takes the place, or waits.
    """
    present = built(_folder(paths, role))
    folder = _folder(paths, role, NEXT)
    if not folder.is_dir():
        return present
    waiting = built(folder).mrenclave
    if waiting not in accepted(line):
        votes = sum(entry["successor"] == waiting for entry in line["approvals"])
        say(f"the successor {waiting} of the SMS ({role}) waits: {votes} of {line['threshold']} approvals")
        return present
    say(f"the SMS ({role}) is {waiting} from now on, in the place of {present.mrenclave}")
    present.layout.rename(_folder(paths, role, f".{present.mrenclave[:_SHOWN]}"))
    folder.rename(present.layout)
    return built(present.layout)


def accepted(line: Mapping[str, Any]) -> frozenset[str]:
    """The enclaves that the CAS gives the key to: the current one, and an approved successor."""
    allowed = line.get("allowed")
    return frozenset({line["current"], *([allowed["successor"]] if allowed else [])})


def _folder(paths: NetworkPaths, role: str, edition: str = "") -> Path:
    return paths.images / f"sms-{role}{edition}"
