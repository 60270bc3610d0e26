"""``python -m adyton.results.main --config FILE``: run the results service."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from adyton.base import log
from adyton.results.api import build_app
from adyton.results.settings import ResultsSettings
from adyton.web.server import serve


def main(argv: Sequence[str] | None = None) -> None:
    """Load the settings and serve until stopped.

    Raises:
        InputError: bad settings.
        PortInUseError: the port is taken.
    """
    parser = argparse.ArgumentParser(prog="adyton results", description="Result proxy, IPFS store, image registry.")
    parser.add_argument("--config", type=Path, help="TOML file with the settings")
    settings = ResultsSettings.load(parser.parse_args(argv).config)
    log.configure()
    serve(build_app(settings), settings.host, settings.port)


if __name__ == "__main__":
    main()
