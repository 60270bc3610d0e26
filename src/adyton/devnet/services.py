"""How each service of a local network is run: its generated settings, its command, and how to see that it is ready.

One function per service; each returns a :class:`ServiceSpec`. Nothing is started here.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adyton.base.errors import AdytonError
from adyton.base.files import write_atomic
from adyton.base.types import Address
from adyton.cas.client.operator import make_identity
from adyton.chain.anvil import anvil_command
from adyton.chain.artifacts import find_node_modules
from adyton.chain.deploy import Deployment
from adyton.chain.rpc import Rpc
from adyton.devnet.enclave_process import EnclaveProcess
from adyton.devnet.images import FRAMEWORK_VERSION, BuiltImage, ServiceImages
from adyton.devnet.native import layers_folder
from adyton.devnet.network import HOST, Ports
from adyton.devnet.operators import key_file
from adyton.devnet.paths import NetworkPaths
from adyton.devnet.pools import PoolSpec
from adyton.devnet.processes import ServiceSpec
from adyton.web.client import HttpClient

SMS_OF_ROLE = {"production": "sms", "debug": "sms_debug"}
WORKER_OF_ROLE = {"production": "worker", "debug": "worker_debug"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What every service needs to know about the network it belongs to."""

    paths: NetworkPaths
    ports: Ports


def chain(plan: Plan) -> ServiceSpec:
    """The chain node, with its state in a file."""
    port = plan.ports.chain
    command = anvil_command(find_node_modules(), port=port, state_file=plan.paths.data("chain") / "state.json")
    rpc = Rpc(plan.ports.url("chain"), timeout_s=2)
    return _spec(plan, "chain", command, _quietly(lambda: rpc.block_number() >= 0), plan.ports.url("chain"))


def platform(plan: Plan) -> ServiceSpec:
    """The simulated SGX platform."""
    settings = {
        "state": str(plan.paths.data("platform")),
        "socket": str(plan.paths.platform_socket),
        "layers": str(layers_folder()),
        "host": HOST,
        "port": plan.ports.pccs,
    }
    return _service(plan, "platform", "adyton.platform.simulated.main", settings, plan.ports.url("pccs"))


def market(plan: Plan, deployment: Deployment) -> ServiceSpec:
    """The order book."""
    settings = {
        "host": HOST,
        "port": plan.ports.market,
        "database": str(plan.paths.data("market") / "market.sqlite3"),
        "rpc_url": plan.ports.url("chain"),
        "chain_id": deployment.chain_id,
        "hub": deployment.hub,
    }
    return _service(plan, "market", "adyton.market.main", settings, plan.ports.url("market"))


def results(plan: Plan, deployment: Deployment) -> ServiceSpec:
    """Result proxy, IPFS and image registry."""
    settings = {
        "host": HOST,
        "port": plan.ports.results,
        "data": str(plan.paths.data("results")),
        "rpc_url": plan.ports.url("chain"),
        "chain_id": deployment.chain_id,
        "hub": deployment.hub,
    }
    return _service(plan, "results", "adyton.results.main", settings, plan.ports.url("results"))


def cas(plan: Plan, image: BuiltImage) -> ServiceSpec:
    """The CAS, as an enclave sealed to the platform."""
    process = EnclaveProcess(
        socket=str(plan.paths.platform_socket),
        layout=str(image.layout),
        environment={
            "ADYTON_CAS_HOST": HOST,
            "ADYTON_CAS_REST_PORT": str(plan.ports.cas),
            "ADYTON_CAS_ATTESTED_PORT": str(plan.ports.cas_enclave),
            "ADYTON_CAS_PCCS_URL": plan.ports.url("pccs"),
            "ADYTON_CAS_ADMINS": make_identity(plan.paths.data("operator")),
        },
        host_paths={"/data": str(plan.paths.data("cas"))},
    )
    return _enclave(plan, "cas", process, _listens(plan.ports.cas_enclave), f"https://{HOST}:{plan.ports.cas}")


def sms(plan: Plan, images: ServiceImages, role: str) -> ServiceSpec:
    """An SMS, as an enclave that gets its database key from the CAS."""
    name = SMS_OF_ROLE[role]
    port = getattr(plan.ports, name)
    process = EnclaveProcess(
        socket=str(plan.paths.platform_socket),
        layout=str(images.sms[role].layout),
        environment={
            "SCONE_CONFIG_ID": f"{sms_session(role)}/sms",
            "ADYTON_SMS_HOST": HOST,
            "IEXEC_SMS_PORT": str(port),
            "ADYTON_SMS_TLS_PORT": str(getattr(plan.ports, f"{name}_tls")),
            "ADYTON_SMS_PCCS_URL": plan.ports.url("pccs"),
            "ADYTON_SMS_ADMINS": make_identity(plan.paths.data("operator")),
            "IEXEC_BLOCKCHAIN_NODE_ADDRESS": plan.ports.url("chain"),
            "ADYTON_SMS_IPFS_GATEWAY_URL": plan.ports.url("results"),
            "IEXEC_SECRET_PROVISIONER_WEB_HOSTNAME": HOST,
            "IEXEC_SECRET_PROVISIONER_WEB_PORT": str(plan.ports.cas),
            "IEXEC_SECRET_PROVISIONER_ENCLAVE_HOSTNAME": HOST,
            "IEXEC_SECRET_PROVISIONER_ENCLAVE_PORT": str(plan.ports.cas_enclave),
            "TEE_WORKER_PIPELINES_0_PRECOMPUTE_IMAGE": stage_reference(plan, "pre-compute"),
            "TEE_WORKER_PIPELINES_0_POSTCOMPUTE_IMAGE": stage_reference(plan, "post-compute"),
        },
        host_paths={"/data": str(plan.paths.data(name))},
        cas_address=f"{HOST}:{plan.ports.cas_enclave}",
    )
    url = plan.ports.url(name)
    return _enclave(plan, name.replace("_", "-"), process, _answers(url), url)


def sms_session(role: str) -> str:
    """The CAS session that configures the SMS of ``role``."""
    return f"adyton-sms-{role}"


def stage_reference(plan: Plan, stage: str) -> str:
    """Where workers get the image of a stage enclave."""
    return f"{HOST}:{plan.ports.results}/adyton/{stage}:local"


def scheduler(plan: Plan, deployment: Deployment, spec: PoolSpec, pool: Address) -> ServiceSpec:
    """The scheduler of a pool."""
    port = getattr(plan.ports, spec.service)
    name = spec.service.replace("_", "-")
    settings = {
        "host": HOST,
        "port": port,
        "data_folder": str(plan.paths.data(spec.service)),
        "rpc_url": plan.ports.url("chain"),
        "hub_address": deployment.hub,
        "pool_address": pool,
        "key_file": str(key_file(plan.paths, f"pool-{spec.role}")),
        "sms_scone": plan.ports.url(SMS_OF_ROLE[spec.role]),
        "result_proxy_url": plan.ports.url("results"),
        "poll_interval_s": 0.25,
    }
    return _service(plan, name, "adyton.workerpool.scheduler.main", settings, plan.ports.url(spec.service))


def worker(plan: Plan, deployment: Deployment, spec: PoolSpec, pool: Address) -> ServiceSpec:
    """A worker of a pool."""
    field = WORKER_OF_ROLE[spec.role]
    settings = {
        "host": HOST,
        "port": getattr(plan.ports, field),
        "name": f"worker-{spec.role}",
        "data_folder": str(plan.paths.data(field)),
        "scheduler_url": plan.ports.url(spec.service),
        "rpc_url": plan.ports.url("chain"),
        "hub_address": deployment.hub,
        "pool_address": pool,
        "key_file": str(key_file(plan.paths, f"worker-{spec.role}")),
        "warm_sms_url": plan.ports.url(SMS_OF_ROLE[spec.role]),
        "warm_framework_version": FRAMEWORK_VERSION,
        "results_url": plan.ports.url("results"),
        "ipfs_gateway": plan.ports.url("results"),
        "platform_socket": str(plan.paths.platform_socket),
    }
    return _service(plan, field.replace("_", "-"), "adyton.workerpool.worker.main", settings, plan.ports.url(field))


def _service(plan: Plan, name: str, module: str, settings: Mapping[str, Any], url: str) -> ServiceSpec:
    file = plan.paths.config / f"{name}.toml"
    write_atomic(file, _toml(settings))
    return _spec(plan, name, [sys.executable, "-m", module, "--config", str(file)], _answers(url), url)


def _enclave(plan: Plan, name: str, process: EnclaveProcess, healthy: Callable[[], bool], endpoint: str) -> ServiceSpec:
    return _spec(plan, name, process.command(plan.paths.config / f"{name}.json"), healthy, endpoint)


def _spec(plan: Plan, name: str, command: list[str], healthy: Callable[[], bool], endpoint: str) -> ServiceSpec:
    return ServiceSpec(name, command, healthy, log_file=_log_file(plan, name), endpoint=endpoint)


def _log_file(plan: Plan, name: str) -> Path:
    return plan.paths.logs / f"{name}.log"


def _toml(settings: Mapping[str, Any]) -> bytes:
    # JSON's numbers and escaped strings are TOML's, too.
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in settings.items()).encode()


def _answers(url: str) -> Callable[[], bool]:
    client = HttpClient(url, url, timeout_s=2)
    return _quietly(lambda: client.json("GET", "/actuator/health")["status"] == "UP")


def _listens(port: int) -> Callable[[], bool]:
    def connects() -> bool:
        with socket.create_connection((HOST, port), 1):
            return True

    return _quietly(connects)


def _quietly(check: Callable[[], bool]) -> Callable[[], bool]:
    def healthy() -> bool:
        try:
            return check()
        except (AdytonError, OSError, KeyError, TypeError):
            return False

    return healthy
