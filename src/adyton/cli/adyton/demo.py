"""``adyton demo``: the main job, from the first wallet to the verified result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def demo(
    *,
    report: Annotated[Path, Parameter(help="Where the report goes.")] = Path("demo-report.json"),
    keep: Annotated[bool, Parameter(help="Leave the network running, and the people's folders.", negative=())] = False,
) -> int:
    """Start a whole network, play three owners and a requester through public commands, verify, then attack five times.

    Exit status 0 only if the result was verified and every attack was refused. Nothing is left running unless --keep.
    """
    from adyton.devnet.demo.story import run_demo  # noqa: PLC0415  # heavy

    return 0 if run_demo(report.resolve(), keep=keep) else 1
