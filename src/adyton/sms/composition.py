"""Putting the service together from its settings: database, chain, CAS, use cases."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine

from adyton import __version__
from adyton.base.clock import Clock, utc_now
from adyton.base.db import open_engine
from adyton.chain.contracts import Hub
from adyton.chain.rpc import Rpc
from adyton.sms.audit import AuditLog
from adyton.sms.authorize import Rules
from adyton.sms.chain_view import ChainView
from adyton.sms.hub_view import HubView
from adyton.sms.keyfile import read_database_key
from adyton.sms.limits import RateLimiter
from adyton.sms.metrics import SecretsMetrics
from adyton.sms.repo import Repo
from adyton.sms.service import SecretService, TeeService
from adyton.sms.session_maker import session_maker
from adyton.sms.sessions import CasSessionStore, SessionStore
from adyton.sms.settings import SmsSettings


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes call."""

    settings: SmsSettings
    engine: Engine
    rpc: Rpc | None
    secrets: SecretService
    tee: TeeService
    metrics: SecretsMetrics
    limiter: RateLimiter

    def close(self) -> None:
        """Release the database and the connections to the node."""
        self.engine.dispose()
        if self.rpc is not None:
            self.rpc.close()


def compose(
    settings: SmsSettings,
    *,
    view: ChainView | None = None,
    store: SessionStore | None = None,
    clock: Clock = utc_now,
) -> Services:
    """Open everything the settings name.

    Args:
        settings: see :class:`SmsSettings`; the database key's file is read and removed here.
        view: the chain; by default the hub that the settings name.
        store: where sessions go; by default the CAS that the settings name.
        clock: source of time.

    Raises:
        DatabaseKeyError: no usable database key, or the database was made with another one.
        StoreError: the database does not work.
        UnsupportedFrameworkError: sessions of this framework are not offered.
    """
    maker = session_maker(settings)
    key = read_database_key(settings.database_key_file)
    engine = open_engine(settings.database)
    repo = Repo(engine, key)
    audit = AuditLog(engine, key, clock=clock)
    rpc = None
    if view is None:
        rpc = Rpc(settings.node_url)
        view = HubView(Hub(rpc, settings.hub), settings.chain_id)
    store = store or CasSessionStore(settings.provisioner_web_url, settings.identity_file, settings.cas_ca_file)
    rules = Rules(settings.framework, settings.max_head_age_s)
    return Services(
        settings=settings,
        engine=engine,
        rpc=rpc,
        secrets=SecretService(repo, view, audit, rules, clock=clock),
        tee=TeeService(
            repo,
            view,
            audit,
            rules,
            maker=maker,
            store=store,
            max_sessions_per_task=settings.max_sessions_per_task,
            challenge_retention_s=settings.challenge_retention_s,
            clock=clock,
        ),
        metrics=SecretsMetrics(
            repo,
            version=__version__,
            framework=settings.framework,
            refresh_s=settings.metrics_refresh_s,
            clock=clock,
        ),
        limiter=RateLimiter(settings.requests_per_s, clock=clock),
    )
