"""Settings of a worker; official environment names are accepted beside our own (pool reference 4.1)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from adyton.base.settings import Settings
from adyton.base.types import Address, parse_address


class WorkerSettings(Settings):
    """One worker.

    Attributes:
        host: address of the routes that stage enclaves call.
        port: their TCP port.
        stage_host: ``host:port`` under which enclaves reach them; empty means ``host:port``.
        name: shown by the scheduler.
        scheduler_url: the pool's scheduler.
        pool_address: the pool; a scheduler of another one is refused.
        data_folder: tasks and images.
        rpc_url: the chain's node.
        hub_address: the PoCo contract.
        key_file: the worker's key: keystore or private hex file.
        password_file: the keystore's password.
        platform_socket: the platform daemon's socket; none means that no enclaves can be run.
        warm_sms_url: secret management service whose stage enclaves are fetched and unpacked when the worker starts;
            empty leaves that to the first task.
        warm_framework_version: framework version for which it is asked.
        results_url: result proxy where neither deal nor scheduler names one.
        ipfs_gateway: base URL of the gateway for ``/ipfs/…`` inputs.
        cpu_count: tasks at a time; 0 means all processors but one, at least one.
        max_enclave_heap_gb: applications that want a larger enclave heap are refused, GB.
        memory_gb: memory of one standard application, GB.
        app_network: whether standard applications get the host's network. They are untrusted programs and the
            host's own services listen there, so it is off.
    """

    env_prefix: ClassVar[str] = "ADYTON_WORKER_"
    env_names: ClassVar[Mapping[str, str]] = {
        "IEXEC_WORKER_PORT": "port",
        "IEXEC_CORE_URL": "scheduler_url",
        "POOL_ADDRESS": "pool_address",
        "IEXEC_WORKER_NAME": "name",
        "IEXEC_WORKER_BASE_DIR": "data_folder",
        "IEXEC_WORKER_OVERRIDE_AVAILABLE_CPU_COUNT": "cpu_count",
        "IEXEC_WORKER_OVERRIDE_BLOCKCHAIN_NODE_ADDRESS": "rpc_url",
        "IEXEC_WORKER_TEE_COMPUTE_MAX_HEAP_SIZE_GB": "max_enclave_heap_gb",
    }

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 13100
    stage_host: str = ""
    name: Annotated[str, Field(min_length=1, max_length=100)] = "worker"
    scheduler_url: str
    pool_address: str
    data_folder: Path
    rpc_url: str
    hub_address: str
    key_file: Path
    password_file: Path | None = None
    platform_socket: Path | None = None
    warm_sms_url: str = ""
    warm_framework_version: str = "v5"
    results_url: str
    ipfs_gateway: str = ""
    cpu_count: Annotated[int, Field(ge=0, le=4096)] = 0
    max_enclave_heap_gb: Annotated[int, Field(ge=1, le=4096)] = 8
    memory_gb: Annotated[int, Field(ge=1, le=4096)] = 4
    app_network: bool = False

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
    def slots(self) -> int:
        """Tasks at a time."""
        return self.cpu_count or max((os.cpu_count() or 2) - 1, 1)

    @property
    def stage_address(self) -> str:
        """``host:port`` for stage enclaves."""
        return self.stage_host or f"{self.host}:{self.port}"
