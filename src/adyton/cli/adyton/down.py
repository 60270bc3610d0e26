"""``adyton down``: stop the network."""

from __future__ import annotations

import sys

from adyton.cli.adyton.options import State


def down(*, state: State = None) -> None:
    """Stop the network; everything it stored stays for the next 'adyton up'."""
    from adyton.devnet import supervision  # noqa: PLC0415  # pydantic is needed by few verbs
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415

    paths = NetworkPaths.of(state)
    stopped = supervision.stop(paths)
    sys.stderr.write("network stopped\n" if stopped else f"no network is running in {paths.root}\n")
