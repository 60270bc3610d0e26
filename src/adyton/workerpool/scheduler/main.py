"""``python -m adyton.workerpool.scheduler.main --config FILE``: the scheduler process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from adyton.base.errors import AdytonError
from adyton.base.log import configure
from adyton.web.server import serve
from adyton.workerpool.scheduler.api import build_app
from adyton.workerpool.scheduler.settings import SchedulerSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="adyton.workerpool.scheduler", description=__doc__)
    parser.add_argument("--config", type=Path, help="TOML file with the settings")
    options = parser.parse_args(argv)
    try:
        settings = SchedulerSettings.load(options.config)
        configure()
        app = build_app(settings)
        serve(app, settings.host, settings.port, on_exit=app.state.scheduler.release)
    except AdytonError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n{error.hint}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
