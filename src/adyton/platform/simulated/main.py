"""``python -m adyton.platform.simulated.main --config FILE``: one simulated machine with its collateral service."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from adyton import __version__
from adyton.base import log
from adyton.base.errors import AdytonError
from adyton.content.oci import LayerCache
from adyton.platform.simulated.daemon import PlatformDaemon
from adyton.platform.simulated.machine import SimulatedMachine
from adyton.platform.simulated.pccs import build_router
from adyton.platform.simulated.pki import SimulatedVendor
from adyton.platform.simulated.settings import PlatformSettings
from adyton.platform.simulated.state import exclusive
from adyton.platform.simulated.store import ImageStore
from adyton.runner.bwrap import find_runner
from adyton.web.app import new_app
from adyton.web.server import listen


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon until SIGTERM or SIGINT; returns the exit status."""
    parser = argparse.ArgumentParser(prog="adyton-platform", description="Simulated SGX platform.")
    parser.add_argument("--config", type=Path, required=True, help="TOML file; see PlatformSettings")
    try:
        settings = PlatformSettings.load(parser.parse_args(argv).config)
        log.configure(settings.log_level)
        run(settings)
    except AdytonError as error:
        sys.stderr.write(f"adyton-platform: {error.code}: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"  {error.hint}\n")
        return 1
    return 0


def run(settings: PlatformSettings) -> None:
    """Serve host programs and collateral until SIGTERM or SIGINT.

    Raises:
        AdytonError: no runner, a taken port or socket, damaged state, or a state folder that another daemon uses.
    """
    with exclusive(settings.state):
        _run(settings)


def _run(settings: PlatformSettings) -> None:
    vendor = SimulatedVendor.create(settings.state / "vendor")
    listener = listen(settings.host, settings.port)
    pccs_url = f"http://{settings.host}:{listener.getsockname()[1]}"
    machine = SimulatedMachine.in_folder(settings.state / "machine", vendor, pccs_url)
    store = ImageStore(settings.state / "images", LayerCache(settings.layers_path))
    daemon = PlatformDaemon(machine, store, find_runner(), max_enclaves=settings.max_enclaves)
    app = new_app("Simulated SGX platform", __version__)
    app.include_router(build_router(vendor))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2)
    )
    # uvicorn takes over signals only in the main thread, which here is the daemon's
    collateral = threading.Thread(target=server.run, args=([listener],), name="collateral", daemon=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    collateral.start()
    log.get_logger("platform").info("platform is up", **_public(machine), socket=str(settings.socket_path))
    try:
        daemon.serve(settings.socket_path)
    finally:
        server.should_exit = True
        collateral.join(5)


def _public(machine: SimulatedMachine) -> dict[str, str]:
    info = machine.info()
    return {"tier": info.tier, "fmspc": info.fmspc, "pccs": info.pccs_url}


if __name__ == "__main__":
    sys.exit(main())
