"""``python -m adyton.cas.main [--config FILE]``: the CAS as a process, in its enclave.

Both ports are served by one process: the REST port by the main thread, which gets the signals, the attested port by a
second thread; when either ends, both end.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from fastapi import FastAPI

from adyton.attestation.anchors import require_production
from adyton.attestation.collateral.cache import CollateralCache, CollateralMetrics, Refresher
from adyton.attestation.collateral.pccs import PccsClient
from adyton.attestation.dcap.verify import Verifier
from adyton.base import log
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError
from adyton.cas.face.admin import admin_routes
from adyton.cas.face.api import build_attested_app, build_rest_app
from adyton.cas.face.approvalapi import approval_routes
from adyton.cas.face.authority import Authority
from adyton.cas.face.prover import Prover
from adyton.cas.face.refusals import RefusalLimit
from adyton.cas.releasing.approvals import ApprovalService
from adyton.cas.releasing.attested import ReleaseService
from adyton.cas.service import Quota, SessionService
from adyton.cas.settings import CasSettings
from adyton.cas.store.audit import AuditEvent
from adyton.cas.store.repo import SessionRepo
from adyton.cas.store.state import CasState, open_state
from adyton.web.peercert import tls_protocol
from adyton.web.server import listen

if TYPE_CHECKING:
    from adyton.platform.protocol import Platform
    from adyton.platform.sealing import RollbackCounter

_GRACE_S: Final = 5
# Threads that judge quotes hold the interpreter in long stretches; handshakes, made of many short calls into OpenSSL,
# would wait 5 ms (Python's default) for each of them.
_SWITCH_S: Final = 0.0005
_ROOT_ENDS_SOON: Final = timedelta(days=180)
_log = log.get_logger("cas")


@dataclass(frozen=True, slots=True)
class Cas:
    """An opened CAS: its two applications, what proves it, and what keeps its collateral fresh once started."""

    rest: FastAPI
    attested: FastAPI
    prover: Prover
    state: CasState
    refresher: Refresher

    def close(self) -> None:
        """Let go of the state."""
        self.refresher.stop()
        self.state.close()


def build(
    settings: CasSettings, platform: Platform, clock: Clock = utc_now, *, counter: RollbackCounter | None = None
) -> Cas:
    """Open (or create) the state and put the CAS together.

    Args:
        settings: of this CAS.
        platform: its enclave's.
        clock: time.
        counter: where the platform has one: the state is then refused unless it is the newest.

    Raises:
        SealedStateError: the state is another CPU's or another CAS build's.
        RolledBackError: the state is older than what was acknowledged.
        StoreCorruptError, AuditBrokenError: the state was altered.
    """
    state = open_state(platform, settings.database, clock=clock, counter=counter, anchor=settings.expected_head)
    try:
        return _assemble(settings, platform, clock, state)
    except BaseException:
        state.close()
        raise


def _assemble(settings: CasSettings, platform: Platform, clock: Clock, state: CasState) -> Cas:
    repo, audit = SessionRepo(state.ledger), state.audit
    audit.limit(settings.audited_refusals_per_s)
    authority = state.authority
    folder = settings.database / "collateral"  # where it may also be imported to; nothing in it is trusted
    collateral = CollateralCache(PccsClient(settings.pccs_url), settings.trust_anchors, clock=clock, folder=folder)
    verifier = Verifier(collateral, clock=clock)
    prover = Prover(platform, authority, collateral, anchors=settings.trust_anchors, names=settings.names, clock=clock)
    sessions = SessionService(repo, audit, Quota(settings.sessions_per_creator), clock, anchors=settings.trust_anchors)
    releases = ReleaseService(repo, audit, authority, verifier=verifier, anchors=settings.trust_anchors, clock=clock)
    tiers = ",".join(settings.anchors)
    mrenclave = platform.identity().mrenclave.hex()
    audit.append(AuditEvent("start", "done", mrenclave=mrenclave, tier=tiers, authority=authority().fingerprint))
    limit = RefusalLimit(settings.refusals_per_s)
    _warn_of_the_end(authority(), clock())
    rest = build_rest_app(sessions, prover, authority, limit, clock=clock)
    attested = build_attested_app(releases, prover)
    rest.include_router(admin_routes(state, settings.admins))
    rest.include_router(approval_routes(ApprovalService(repo, audit, clock), limit))
    for app in (rest, attested):
        app.state.registry.register(CollateralMetrics(collateral))
    return Cas(rest, attested, prover, state, Refresher(collateral))


def _warn_of_the_end(authority: Authority, now: datetime) -> None:
    """Nobody renews the root but the operator, and everything under it ends with it."""
    end = authority.root.not_valid_after_utc
    if end - now < _ROOT_ENDS_SOON:
        _log.warning("the authority's root ends soon: exchange it with 'adyton keys rotate cas'", end=end.isoformat())


def serve(cas: Cas, rest: socket.socket, attested: socket.socket) -> None:
    """Serve both ports on listening sockets until a signal comes or one of them ends."""
    sys.setswitchinterval(_SWITCH_S)
    main = _server(cas.rest, tls_protocol(cas.prover.rest_context))
    second = _server(cas.attested, tls_protocol(cas.prover.attested_context))

    def run_second() -> None:
        try:
            second.run(sockets=[attested])  # installs no signal handlers outside the main thread
        finally:
            main.should_exit = True

    thread = threading.Thread(target=run_second, name="cas-attested")
    with _own_signals():
        thread.start()
        try:
            main.run(sockets=[rest])
        finally:
            second.should_exit = True
            thread.join(timeout=2 * _GRACE_S)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Survive the signal that ends the main server: uvicorn raises it again when done, before the second has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _nothing) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing(_number: int, _frame: object) -> None:
    """The handler to which uvicorn raises the signal again."""


def _server(app: FastAPI, http: Any) -> uvicorn.Server:  # noqa: ANN401  # uvicorn types it as a class; it is called
    config = uvicorn.Config(
        app,
        http=http,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # an address that the client wrote itself would be what its refusals are counted by
        timeout_graceful_shutdown=_GRACE_S,
    )
    return uvicorn.Server(config)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the CAS; returns the exit status: 0 ended in order, 1 could not start."""
    parser = argparse.ArgumentParser(prog="adyton-cas", description="Configuration and attestation service.")
    parser.add_argument("--config", type=Path, help="TOML file with settings; the environment goes before it")
    arguments = parser.parse_args(argv)
    try:
        settings = CasSettings.load(arguments.config)
        log.configure(settings.log_level)
        _run(settings)
    except AdytonError as error:
        sys.stderr.write(f"adyton-cas: {error.code}: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"adyton-cas: {error.hint}\n")
        return 1
    return 0


def _run(settings: CasSettings) -> None:
    from adyton.platform.detect import enclave_platform  # noqa: PLC0415  # only a process in an enclave has one

    if settings.profile == "production":
        require_production(settings.trust_anchors)
    # ports first: a taken port must fail before state is made
    rest, attested = listen(settings.host, settings.rest_port), listen(settings.host, settings.attested_port)
    cas = build(settings, enclave_platform())
    _log.info("listening", host=settings.host, rest_port=rest.getsockname()[1], attested_port=attested.getsockname()[1])
    cas.refresher.start()
    gc.freeze()  # what the start made stays, and is not searched for garbage again and again
    try:
        serve(cas, rest, attested)
    finally:
        cas.close()


if __name__ == "__main__":
    sys.exit(main())
