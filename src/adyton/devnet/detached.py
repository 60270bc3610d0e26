"""The process of a detached network: ``python -m adyton.devnet.detached FOLDER PORTS_JSON [tied]``.

A tied network ends with the process that started it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from adyton.base.errors import AdytonError
from adyton.devnet import foreground
from adyton.devnet.network import Ports
from adyton.devnet.paths import NetworkPaths
from adyton.devnet.processes import die_with_parent


def main(arguments: list[str]) -> int:
    """Run the network until SIGTERM."""
    if "tied" in arguments[2:]:
        die_with_parent()
    try:
        foreground.run(NetworkPaths.of(Path(arguments[0])), Ports.model_validate_json(arguments[1]))
    except AdytonError as error:
        sys.stderr.write(f"{error.message}\n{error.hint}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
