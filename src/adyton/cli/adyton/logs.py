"""``adyton logs``: what the services wrote."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from adyton.cli.adyton.options import State


def logs(
    service: Annotated[str | None, Parameter(help="One service; all of them when absent.")] = None,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], help="Go on as lines arrive.", negative=())] = False,
    lines: Annotated[int, Parameter(name=["--lines", "-n"], help="How many last lines of each log.")] = 40,
    state: State = None,
) -> None:
    """Print the last lines of the services' logs, each with its service's name."""
    from adyton.devnet import logfiles  # noqa: PLC0415
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415

    logfiles.show(NetworkPaths.of(state), service, lines=lines, follow=follow)
