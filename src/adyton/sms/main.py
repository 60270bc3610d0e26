"""``python -m adyton.sms.main [--config FILE]``: run the service."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from adyton.base import log
from adyton.base.errors import AdytonError
from adyton.base.process import forbid_dumps
from adyton.sms.api import build_app
from adyton.sms.settings import SmsSettings
from adyton.web.server import serve


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; 0 after a clean shutdown, 1 when the service cannot start."""
    parser = argparse.ArgumentParser(prog="adyton-sms", description="Secret management service.")
    parser.add_argument("--config", type=Path, help="TOML or YAML file; the environment overrides it")
    arguments = parser.parse_args(argv)
    log.configure()
    forbid_dumps()
    try:
        settings = SmsSettings.load(arguments.config)
        for name, reason in settings.without_effect.items():
            log.get_logger("sms").warning("setting without effect", name=name, reason=reason)
        serve(build_app(settings), settings.host, settings.port)
    except AdytonError as error:
        log.get_logger("sms").error("cannot start", code=error.code, detail=error.message, hint=error.hint)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
