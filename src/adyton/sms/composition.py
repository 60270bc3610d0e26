"""Putting the service together from its settings: database, chain, CAS, use cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adyton import __version__
from adyton.base.clock import Clock, utc_now
from adyton.chain.contracts import Hub
from adyton.chain.rpc import Rpc
from adyton.chain.wallet import Wallet
from adyton.sms.access.authorize import Authorizer, Rules
from adyton.sms.access.signatures import Signatures
from adyton.sms.audit import AuditLog
from adyton.sms.backup.archive import SealedArchive
from adyton.sms.backup.backups import BackupArchive, Backups, FileBackups, Maintenance
from adyton.sms.errors import UnsupportedFrameworkError
from adyton.sms.metrics import SecretsMetrics
from adyton.sms.onchain.caller import CallerRpc
from adyton.sms.onchain.hub_view import HubView
from adyton.sms.onchain.view import ChainView
from adyton.sms.onchain.witness import AgreeingView
from adyton.sms.opening.attestation_servers import AttestationServers
from adyton.sms.opening.bulk import Files
from adyton.sms.opening.ipfs_gateway import IpfsGateway
from adyton.sms.opening.scone import SconeSessionMaker
from adyton.sms.opening.session_maker import SessionMaker
from adyton.sms.opening.session_stores import CasSessionStore, SessionStore, TdxSessionStore
from adyton.sms.opening.tdx import TdxSessionMaker
from adyton.sms.service import SecretService
from adyton.sms.settings import SmsSettings
from adyton.sms.store.database import Database, Rotation
from adyton.sms.store.keyexchange import KeyExchange
from adyton.sms.store.keyfile import read_database_key
from adyton.sms.store.repo import Repo
from adyton.sms.tee_service import TeeService
from adyton.sms.wire import Framework
from adyton.web.limits import RateLimiter


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes call."""

    settings: SmsSettings
    database: Database
    rpcs: Sequence[Rpc]
    gateway: IpfsGateway | None
    secrets: SecretService
    tee: TeeService
    backups: Backups
    rotate_keys: Callable[[], Rotation]
    maintenance: Maintenance
    metrics: SecretsMetrics
    limiter: RateLimiter

    def close(self) -> None:
        """Release the database and the connections to the nodes and the gateway."""
        self.database.close()
        for rpc in self.rpcs:
            rpc.close()
        if self.gateway is not None:
            self.gateway.close()


def compose(
    settings: SmsSettings,
    *,
    view: ChainView | None = None,
    store: SessionStore | None = None,
    files: Files | None = None,
    archive: BackupArchive | None = None,
    exchange: KeyExchange | None = None,
    measurement: str = "",
    clock: Clock = utc_now,
) -> Services:
    """Open everything the settings name.

    Args:
        settings: see :class:`SmsSettings`; the database key's file is read and removed here.
        view: the chain; by default the hub as the nodes that the settings name show it.
        store: where sessions go; by default what the settings name.
        files: where the lists of bulk tasks come from; by default the gateway that the settings name.
        archive: makes and reads backups; by default encrypted ones of the database.
        exchange: has the database key exchanged; None: nobody does.
        measurement: MRENCLAVE of this process, hex; empty where it is not an enclave.
        clock: source of time.

    Raises:
        DatabaseKeyError: no usable database key, or the database was made with another one.
        StoreError: the database does not work.
        KeyExchangeError, KeyStateError: an interrupted exchange of the database key cannot be settled now.
        UnsupportedFrameworkError: sessions of this framework are not offered.
    """
    maker = session_maker(settings)
    database = Database.open(settings.database, read_database_key(settings.database_key_file), exchange)
    repo = Repo(database)
    audit = AuditLog(database, clock=clock)
    rpcs: list[Rpc] = []
    if view is None:
        caller = Wallet.create().address
        rpcs = [CallerRpc(url, caller) for url in (settings.node_url, *settings.witness_node_urls)]
        view = _view(settings, rpcs)
    gateway = None
    if files is None:
        files = gateway = IpfsGateway(settings.ipfs_gateway_url)
    rules = Rules(settings.framework, settings.max_head_age_s)
    signatures = Signatures(view, settings.contract_checks_per_s, clock=clock)
    maintenance = Maintenance()
    return Services(
        settings=settings,
        database=database,
        rpcs=rpcs,
        gateway=gateway,
        secrets=SecretService(repo, view, signatures, audit, rules, clock=clock),
        tee=TeeService(
            repo,
            Authorizer(view, signatures, rules),
            audit,
            files,
            maker=maker,
            store=store or _store(settings),
            max_sessions_per_task=settings.max_sessions_per_task,
            challenge_retention_s=settings.challenge_retention_s,
            clock=clock,
        ),
        backups=FileBackups(
            settings.admin_storage_location,
            archive or SealedArchive(database, audit, measurement, clock=clock),
            maintenance,
        ),
        rotate_keys=lambda: database.rotate(audit.line("keys.rotated")),
        maintenance=maintenance,
        metrics=SecretsMetrics(
            repo,
            version=__version__,
            framework=settings.framework,
            refresh_s=settings.metrics_refresh_s,
            clock=clock,
        ),
        limiter=RateLimiter(settings.requests_per_s, clock=clock),
    )


def session_maker(settings: SmsSettings) -> SessionMaker:
    """The session maker of the service's framework.

    Raises:
        UnsupportedFrameworkError: there is none for it.
    """
    if settings.framework is Framework.TDX:
        return TdxSessionMaker(settings.pipelines[0])
    if settings.framework is not Framework.SCONE:
        raise UnsupportedFrameworkError(
            f"sessions of framework {settings.framework} are not offered", hint="set the framework to SCONE or TDX"
        )
    asks = settings.attestation_mode == "maa"
    return SconeSessionMaker(
        settings.pipelines,
        tolerate=settings.tolerated_insecure_options,
        ignore_advisories=settings.ignored_sgx_advisories,
        mode=settings.attestation_mode,
        url=AttestationServers(settings.attestation_urls).pick if asks else None,
        max_activations=settings.max_activations,
    )


def _view(settings: SmsSettings, rpcs: Sequence[Rpc]) -> ChainView:
    nodes = [HubView(Hub(rpc, settings.hub), settings.chain_id) for rpc in rpcs]
    return nodes[0] if len(nodes) == 1 else AgreeingView(nodes, settings.block_time_s)


def _store(settings: SmsSettings) -> SessionStore:
    if settings.provisioner_post_url is not None and settings.framework is Framework.TDX:
        return TdxSessionStore(settings.provisioner_post_url, settings.identity_file, settings.cas_ca_file)
    return CasSessionStore(settings.provisioner_web_url, settings.identity_file, settings.cas_ca_file)
