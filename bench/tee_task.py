"""``task.tee.overhead``: what the network adds to an application's own time, from the purchase to COMPLETED.

The task is the demonstration's: an enclave application with a confidential dataset, secrets of developer and requester,
an encrypted result; so each passes pre-compute, application and post-compute. Every figure comes from outside: the
chain's events and public commands.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.row import Row

from adyton.base.types import parse_address
from adyton.chain.rpc import Rpc
from adyton.chain.tx import TxSender
from adyton.devnet import foreground, supervision
from adyton.devnet.demo import owners
from adyton.devnet.demo.people import Person
from adyton.devnet.demo.watch import PurchaseWatcher
from adyton.devnet.local import production_pool
from adyton.devnet.network import PRODUCTION_POOL, Network
from adyton.devnet.operators import operator
from adyton.devnet.paths import NetworkPaths
from adyton.devnet.ports import private_ports

AIM_S: Final = 6.0
TASKS: Final = 5
_FUNDS_WEI: Final = 10**19


def measure() -> Row:
    """Five tasks on one fresh network, the first one included."""
    root = Path(tempfile.mkdtemp(prefix="adyton-bench-"))
    paths = NetworkPaths.of(root / "network")
    try:
        network = foreground.start_detached(paths, private_ports(), say=lambda _text: None)
        cast = _people(network, paths, root / "people")
        values = owners.DemoSecrets.random()
        own = _own_seconds(root, values)
        app, dataset = _offer(cast, network, values)
        whole = [_task(number, cast["requester"], network, app, dataset) for number in range(1, TASKS + 1)]
        seconds = [each - own for each in whole]
    finally:
        supervision.stop(paths)
        shutil.rmtree(root, ignore_errors=True)
    value = statistics.median(seconds)
    told = ", ".join(f"{each:.1f}" for each in seconds)
    note = (
        f"from the block of the purchase to the block of COMPLETED, minus {own:.2f} s of the application itself"
        f" (run outside any enclave); blocks every second; median of {told} s, first task on the network first"
    )
    return Row("task.tee.overhead", round(value, 2), "s", f"{AIM_S:g} s aim", round(AIM_S / value, 2), note)


def _people(network: Network, paths: NetworkPaths, folder: Path) -> dict[str, Person]:
    cast = {
        name: Person.create(name, folder / name, network.chain_json()) for name in ("developer", "owner", "requester")
    }
    sender = TxSender(Rpc(network.rpc), operator(paths, "faucet"), network.chain_id)
    for person in cast.values():
        sender.send(parse_address(person.address), value=_FUNDS_WEI)
    return cast


def _offer(cast: dict[str, Person], network: Network, values: owners.DemoSecrets) -> tuple[str, str]:
    developer = cast["developer"]
    print("task.tee.overhead: building and offering application and dataset", flush=True)
    layout, mrenclave = owners.build_enclave_image(developer, owners.APPS / "polynomial", "polynomial", signed=True)
    app = owners.deploy_application(developer, network, "polynomial", layout, mrenclave)
    owners.publish_application(developer, app, price=owners.APP_PRICE, tag=owners.TAG)
    owners.push_coefficients(developer, app, values)
    dataset = owners.offer_dataset(cast["owner"], network, app, values)
    owners.prepare_requester(cast["requester"], values)
    return app.address, dataset["address"]


def _task(number: int, requester: Person, network: Network, app: str, dataset: str) -> float:
    watcher = PurchaseWatcher(network, production_pool(network).scheduler, lambda _line: None)
    watcher.start()
    try:
        requester.iexec(
            *("app", "run", app, "--workerpool", PRODUCTION_POOL, "--dataset", dataset, "--tag", owners.TAG),
            *("--secret", "1=point", "--encrypt-result", "--watch", "--force"),
            lost=watcher.failure,
        )
    finally:
        purchase = watcher.stop()
    print(f"task.tee.overhead {number}/{TASKS}: {purchase.seconds:.2f} s with the application", flush=True)
    return purchase.seconds


def _own_seconds(root: Path, values: owners.DemoSecrets) -> float:
    """What the application takes without a network: this Python runs it on the same inputs."""
    folder = root / "plain"
    folder.mkdir()
    (folder / "dataset").write_text("amount\n" + "".join(f"{each}\n" for each in values.amounts), encoding="utf-8")
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "IEXEC_IN": str(folder),
        "IEXEC_OUT": str(folder),
        "IEXEC_DATASET_FILENAME": "dataset",
        "IEXEC_APP_DEVELOPER_SECRET": owners.coefficients(values).reveal(),
        "IEXEC_REQUESTER_SECRET_1": owners.point(values).reveal(),
    }
    times = []
    for _ in range(3):
        begun = time.monotonic()
        program = str(owners.APPS / "polynomial" / "app.py")
        subprocess.run([sys.executable, "-I", "-S", program], env=environment, check=True, capture_output=True)
        times.append(time.monotonic() - begun)
    return statistics.median(times)
