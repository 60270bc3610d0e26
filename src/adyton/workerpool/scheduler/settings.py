"""Settings of the scheduler; official environment names are accepted beside our own (pool reference 2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from adyton.base.settings import Settings
from adyton.base.types import Address, parse_address
from adyton.chain.tags import Framework
from adyton.workerpool.scheduler.owner import OwnerCall

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]


class SchedulerSettings(Settings):
    """One scheduler of one pool.

    Attributes:
        host: address to listen on.
        port: TCP port.
        public_url: how clients reach it; empty means ``http://host:port``.
        data_folder: where the database lies.
        database: ``postgresql://…`` shared by any number of replicas; empty means SQLite in the data folder, for one.
        rpc_url: the chain's node.
        hub_address: the PoCo contract.
        pool_address: the workerpool.
        key_file: key of the pool's owner: keystore or private hex file.
        password_file: the keystore's password.
        owner_call: should a contract own the pool, how it passes calls on: ``execute`` for
            ``execute(address,uint256,bytes)``, ``erc725`` for ``execute(uint256,address,uint256,bytes)``.
        sms_scone: URL of the SMS for SCONE deals; empty when there is none. ``sms_gramine``, ``sms_tdx`` alike.
        result_proxy_url: where results go when the requester names no proxy.
        start_block: first block to look at.
        poll_interval_s: pause between looks at the chain, seconds.
        detector_period_s: pause between looks for what nobody reports, seconds.
        worker_silence_s: a worker that is silent for so long is lost, seconds.
        worker_whitelist: comma-separated wallets that may log in; empty means all.
        required_worker_version: version that workers must have; empty means any.
        log_days: how long applications' logs stay after the final deadline, days.
    """

    env_prefix: ClassVar[str] = "ADYTON_SCHEDULER_"
    env_names: ClassVar[Mapping[str, str]] = {
        "IEXEC_CORE_PORT": "port",
        "POOL_ADDRESS": "pool_address",
        "IEXEC_START_BLOCK_NUMBER": "start_block",
        "IEXEC_RESULT_REPOSITORY_URL": "result_proxy_url",
        "IEXEC_WORKERS_WHITELIST": "worker_whitelist",
        "IEXEC_CORE_REQUIRED_WORKER_VERSION": "required_worker_version",
        "IEXEC_LOGS_AVAILABILITY_PERIOD_IN_DAYS": "log_days",
    }

    host: str = "127.0.0.1"
    port: Port = 13000
    public_url: str = ""
    data_folder: Path
    database: str = ""
    rpc_url: str
    hub_address: str
    pool_address: str
    key_file: Path
    password_file: Path | None = None
    owner_call: OwnerCall = "execute"
    sms_scone: str = ""
    sms_gramine: str = ""
    sms_tdx: str = ""
    result_proxy_url: str
    start_block: Annotated[int, Field(ge=0)] = 0
    poll_interval_s: Annotated[float, Field(ge=0.05, le=60)] = 0.5
    detector_period_s: Seconds = 5
    worker_silence_s: Seconds = 60
    worker_whitelist: str = ""
    required_worker_version: str = ""
    log_days: Annotated[int, Field(ge=0, le=3650)] = 3

    @field_validator("hub_address", "pool_address")
    @classmethod
    def _address(cls, value: str) -> str:
        return parse_address(value)

    @property
    def hub(self) -> Address:
        """The PoCo contract."""
        return parse_address(self.hub_address)

    @property
    def pool(self) -> Address:
        """The workerpool."""
        return parse_address(self.pool_address)

    @property
    def url(self) -> str:
        """How clients reach this scheduler."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def database_url(self) -> str:
        """What :func:`adyton.base.db.open_engine` opens."""
        return self.database or str(self.data_folder / "scheduler.sqlite3")

    @property
    def sms_urls(self) -> Mapping[Framework, str]:
        """The SMS of each framework that has one."""
        found: dict[Framework, str] = {"SCONE": self.sms_scone, "GRAMINE": self.sms_gramine, "TDX": self.sms_tdx}
        return {framework: url for framework, url in found.items() if url}

    @property
    def whitelist(self) -> frozenset[Address]:
        """Wallets that may log in; empty means all."""
        return frozenset(parse_address(text.strip()) for text in self.worker_whitelist.split(",") if text.strip())
