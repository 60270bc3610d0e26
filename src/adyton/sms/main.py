"""``python -m adyton.sms.main [--config FILE]``: run the service."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from adyton.base import log
from adyton.base.errors import AdytonError
from adyton.base.process import forbid_dumps
from adyton.sms.http.api import build_app
from adyton.sms.prover import Prover
from adyton.sms.settings import SmsSettings
from adyton.sms.store.keyexchange import CasKeyExchange
from adyton.web.server import TlsPort, serve

# Uvicorn's own would believe every X-Forwarded-For that comes over the loopback; which proxies count, our settings say.
_OPTIONS: Final[dict[str, Any]] = {"ws": "none", "proxy_headers": False}


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
        _serve(settings)
    except AdytonError as error:
        log.get_logger("sms").error("cannot start", code=error.code, detail=error.message, hint=error.hint)
        return 1
    return 0


def _serve(settings: SmsSettings) -> None:
    if not settings.tls_port:
        serve(build_app(settings), settings.host, settings.port, **_OPTIONS)
        return
    from adyton.platform.detect import enclave_platform  # noqa: PLC0415  # only a process in an enclave has one

    platform = enclave_platform()
    prover = Prover.of(settings, platform)
    prover.context()  # now: a platform that does not quote must stop the start, not each client
    tls = TlsPort(settings.tls_port, prover.context)
    exchange = CasKeyExchange.of(settings, platform)
    app = build_app(settings, prover=prover, exchange=exchange, measurement=platform.identity().mrenclave.hex())
    serve(app, settings.host, settings.port, tls=tls, **_OPTIONS)


if __name__ == "__main__":
    sys.exit(main())
