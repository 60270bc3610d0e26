"""``adyton status``: what runs, where, and since when."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from adyton.cli.adyton.options import State


def status(
    *,
    state: State = None,
    as_json: Annotated[bool, Parameter(name="--json", help="Print one JSON document.", negative=())] = False,
) -> int:
    """Show the services of the network; exit status 0 when all are ready, 3 when not."""
    from adyton.devnet import supervision, table  # noqa: PLC0415  # rich is needed by few verbs
    from adyton.devnet.network import Network  # noqa: PLC0415
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415

    paths = NetworkPaths.of(state)
    word = supervision.read(paths)
    if word is None or not word.alive():
        if as_json:
            sys.stdout.write(json.dumps({"running": False, "state": str(paths.root)}) + "\n")
        else:
            sys.stderr.write(f"no network is running in {paths.root}; start it with 'adyton up'\n")
        return 3
    ready = word.phase == "ready" and all(service.state == "ready" for service in word.services)
    if as_json:
        network = asdict(Network.read(paths)) if word.phase == "ready" else None
        sys.stdout.write(json.dumps({"running": True, "ready": ready, **asdict(word), "network": network}) + "\n")
    else:
        table.show(word, Network.read(paths) if word.phase == "ready" else None)
    return 0 if ready else 3
