"""A local network from nothing to ready, and back: what can start at once does, the rest when what it needs is there.

    chain ──── contracts, pools ─┬─ market, results ──┬─ stage images pushed, pool orders published
                                 ├─ SMS images ───┐   │
    platform ─ CAS, stage images ┴─ CAS ─ sessions ┴─ SMS, debug SMS, schedulers, workers

Everything is repeatable: what an earlier start left is used, not made again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from adyton.base.types import Address
from adyton.chain.deploy import Deployment
from adyton.devnet import services, supervision
from adyton.devnet.bootstrap import create_sms_sessions, publish_pool_orders, push_stage_images
from adyton.devnet.images import ServiceImages, build_core_images, build_service_images, prepare_building
from adyton.devnet.network import HOST, PRODUCTION_POOL, Network, Pool, Ports
from adyton.devnet.operators import operator
from adyton.devnet.paths import NetworkPaths
from adyton.devnet.pools import POOLS, prepare_chain
from adyton.devnet.ports import require_free
from adyton.devnet.processes import Service, Supervisor
from adyton.platform.client import PlatformClient, PlatformInfo
from adyton.runner.bwrap import find_runner

Say = Callable[[str], None]
_HANDS = 3  # what waits for others at one time; services themselves are started by one thread only


class LocalNetwork:
    """Starts, watches and stops one network; use from one thread.

    Args:
        paths: its folder.
        ports: where its services listen.
        say: called with a line for each thing that happens.
        stopping: asked while it starts; once it answers True, the start is given up.
    """

    def __init__(
        self,
        paths: NetworkPaths,
        ports: Ports,
        say: Say = lambda _line: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._plan = services.Plan(paths, ports)
        self._say = say
        self._phase = "starting"
        self._message = ""
        self._supervisor = Supervisor(self._publish, stopping)
        self._publish(())

    @property
    def running(self) -> Sequence[Service]:
        """The services that were started so far."""
        return self._supervisor.services

    def start(self) -> Network:
        """Bring everything up; the network's description is also written to its file.

        Raises:
            PortInUseError: a port is taken.
            RunnerMissingError: nothing here can confine programs.
            ServiceFailedError: a service did not come up.
            StartInterruptedError: it was asked to stop meanwhile.
        """
        begun = time.monotonic()
        plan, run = self._plan, self._supervisor
        find_runner()
        require_free(plan.ports)
        with ThreadPoolExecutor(max_workers=_HANDS, thread_name_prefix="network") as hands:
            self._say("chain and simulated platform")
            run.launch(services.chain(plan), services.platform(plan))
            preparing = hands.submit(prepare_building, plan.paths)
            run.wait("chain")
            self._say("contracts, pools and their names on the chain")
            on_chain = hands.submit(prepare_chain, plan.paths, plan.ports)
            run.wait("platform")
            info = PlatformClient(plan.paths.platform_socket).info()
            preparing.result()
            self._say("enclave images (half a minute at the first start after an update)")
            building = hands.submit(build_core_images, plan.paths, info.tier, self._say)
            deployment, pools = on_chain.result()
            self._say("market and results")
            run.launch(services.market(plan, deployment), services.results(plan, deployment))
            core = building.result()
            self._say("CAS (an enclave, sealed to the platform)")
            run.launch(services.cas(plan, core.cas))
            images = build_service_images(plan.paths, deployment, info.tier, core, self._say)
            run.wait("results", "market")
            pushing = hands.submit(push_stage_images, plan, images)
            publishing = hands.submit(publish_pool_orders, plan, deployment, pools)
            run.wait("cas")
            self._say("CAS attested; sessions that give each SMS its database key")
            images = create_sms_sessions(plan, images, info.tier, self._say)
            self._say("SMS and debug SMS (enclaves, keys from the CAS), schedulers, workers")
            run.launch(*(services.sms(plan, images, spec.role) for spec in POOLS))
            run.launch(*(services.scheduler(plan, deployment, s, pools[s.role]) for s in POOLS))
            run.launch(*(services.worker(plan, deployment, s, pools[s.role]) for s in POOLS))
            run.wait()
            pushing.result()
            publishing.result()
        network = self._describe(deployment, pools, images, info, time.monotonic() - begun)
        network.save(plan.paths)
        self._phase = "ready"
        self._publish(self.running)
        return network

    def watch_once(self) -> None:
        """Restart what died."""
        self._supervisor.watch_once()

    def stop(self) -> None:
        """Stop every service in reverse order; what they stored stays."""
        if self._phase != "failed":
            self._phase = "stopping"
        self._publish(self.running)
        self._supervisor.stop()

    def fail(self, message: str) -> None:
        """Leave word why it did not start."""
        self._phase, self._message = "failed", message
        self._publish(self.running)

    def _publish(self, running: Sequence[Service]) -> None:
        supervision.publish(self._plan.paths, self._phase, running, self._message)

    def _describe(
        self,
        deployment: Deployment,
        pools: dict[str, Address],
        images: ServiceImages,
        info: PlatformInfo,
        ready_s: float,
    ) -> Network:
        ports = self._plan.ports
        return Network(
            chain_id=deployment.chain_id,
            rpc=ports.url("chain"),
            hub=deployment.hub,
            ens_registry=deployment.ens_registry,
            ens_resolver=deployment.ens_resolver,
            market=ports.url("market"),
            results=ports.url("results"),
            sms=ports.url("sms"),
            sms_debug=ports.url("sms_debug"),
            sms_tls=ports.tls_url("sms_tls"),
            sms_debug_tls=ports.tls_url("sms_debug_tls"),
            cas=f"https://{HOST}:{ports.cas}",
            cas_enclave=f"{HOST}:{ports.cas_enclave}",
            platform_socket=str(self._plan.paths.platform_socket),
            tier=info.tier,
            measurements=images.measurements(),
            pools={
                name: Pool(
                    name=name,
                    address=pools[spec.role],
                    owner=operator(self._plan.paths, f"pool-{spec.role}").address,
                    scheduler=ports.url(spec.service),
                    sms=ports.url(services.SMS_OF_ROLE[spec.role]),
                )
                for spec in POOLS
                for name in spec.names
            },
            ready_s=round(ready_s, 2),
        )


def production_pool(network: Network) -> Pool:
    """The pool that the documents' commands name."""
    return network.pools[PRODUCTION_POOL]
