"""``adyton chain-json``: point a folder's ``iexec`` commands at the local network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adyton.cli.adyton.options import State


def chain_json(
    *,
    write: Annotated[bool, Parameter(help="Write ./chain.json instead of printing it.", negative=())] = False,
    state: State = None,
) -> None:
    """Print (or write) the chain.json with which 'iexec', ours or the official one, uses the local network.

    It has two chains: 'bellecour', the production environment, and 'bellecour-debug', whose SMS lets debug enclaves
    have secrets.
    """
    from adyton.devnet.network import Network, write_chain_json  # noqa: PLC0415
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415

    network = Network.read(NetworkPaths.of(state))
    if write:
        sys.stderr.write(f"wrote {write_chain_json(network, Path.cwd())}\n")
    else:
        sys.stdout.write(json.dumps(network.chain_json(), indent=2) + "\n")
