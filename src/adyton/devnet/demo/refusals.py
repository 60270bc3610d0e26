"""Five attacks that the stack refuses, each made with what an attacker in that place really has.

The rogue of (a) and (c) is a workerpool owner: anyone can deploy a pool, and owns its machine. The attacker of (d) and
(e) operates the SMS and the CAS, with their disks, images and the platform.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adyton.base.errors import AdytonError
from adyton.base.types import Address, Bytes32, parse_address, to_hex, word_bytes
from adyton.chain.contracts import Hub
from adyton.chain.hashing import authorization_hash, task_id
from adyton.chain.rpc import Rpc
from adyton.chain.tx import TxSender
from adyton.chain.wallet import Wallet
from adyton.content.oci import TarEntry, add_layers, read_layout, write_image, write_tar
from adyton.devnet.demo import owners
from adyton.devnet.demo.audit import cas_audit
from adyton.devnet.demo.launching import launch, second_machine
from adyton.devnet.demo.owners import Application
from adyton.devnet.demo.people import Person
from adyton.devnet.demo.report import Refusal
from adyton.devnet.demo.stage import Stage
from adyton.devnet.images import changed_sms
from adyton.devnet.network import DEBUG_POOL, PRODUCTION_POOL
from adyton.devnet.ports import private_ports
from adyton.devnet.services import sms_session
from adyton.platform.client import LaunchRefusedError
from adyton.sms.client import SmsClient
from adyton.sms.errors import SessionRefusedError
from adyton.sms.wire import WorkerpoolAuthorization
from adyton.web.client import HttpClient

_FAILED_WITHIN_S: Final = 60.0


class NotRefusedError(AdytonError):
    """An attack that must be refused was not, or not in the way it must be."""

    code = "demo.not_refused"


def all_five(stage: Stage, app: Application) -> list[Refusal]:
    """Try all, in order; what is not refused is in the list, too."""
    rogue = RogueTask.buy(stage, app)
    scenes: tuple[tuple[str, str, Callable[[], tuple[str, str]]], ...] = (
        (
            "a",
            "the application with one byte of a trusted file changed",
            lambda: _changed_application(stage, app, rogue),
        ),
        ("b", "the application as a debug enclave, in production", lambda: _debug_application(stage)),
        ("c", "a worker that asks for a session for a task that is not its own", lambda: _foreign_task(stage, rogue)),
        ("d", "an SMS with one changed byte that wants the database key", lambda: _changed_sms(stage)),
        ("e", "the CAS database on another CPU", lambda: _other_cpu(stage)),
    )
    found = []
    for case, what, attempt in scenes:
        with stage.narrator.doing(f"({case}) {what}"):
            refusal = _attempt(case, what, attempt)
        mark = "[green]refused[/green]" if refusal.refused else "[red]NOT REFUSED[/red]"
        stage.narrator.say(f"    {mark} {refusal.code}: {refusal.message}")
        found.append(refusal)
    return found


def _attempt(case: str, what: str, attempt: Callable[[], tuple[str, str]]) -> Refusal:
    try:
        code, message = attempt()
    except NotRefusedError as error:
        return Refusal(case, what, refused=False, code=error.code, message=error.message)
    return Refusal(case, what, refused=True, code=code, message=message)


@dataclass(frozen=True, slots=True)
class RogueTask:
    """A real task, bought from a pool whose owner is the rogue: the rogue is authorized to run it, honestly."""

    task: Bytes32
    worker: Wallet
    challenge: Address
    session: str

    @classmethod
    def buy(cls, stage: Stage, app: Application) -> RogueTask:
        """Deploy the rogue's pool, let the requester buy from it, initialize the task, and open its session."""
        network, rogue, requester = stage.network, stage.cast["rogue"], stage.cast["requester"]
        with stage.narrator.doing("a rogue deploys a workerpool of its own, and the requester buys a task from it"):
            rogue.iexec("storage", "init")
            rogue.iexec("workerpool", "init")
            pool = rogue.iexec("workerpool", "deploy")["address"]
            rogue.iexec("workerpool", "publish", pool, "--tag", owners.TAG, "--trust", "1", "--force")
            answer = requester.iexec(
                *(
                    "app",
                    "run",
                    app.address,
                    "--workerpool",
                    pool,
                    "--tag",
                    owners.TAG,
                    "--secret",
                    "1=point",
                    "--force",
                )
            )
            deal = Bytes32(answer["deals"][0]["dealid"])
            wallet = _wallet_of(rogue)
            rpc = Rpc(network.rpc)
            hub = Hub(rpc, parse_address(network.hub))
            TxSender(rpc, wallet, network.chain_id).send(hub.address, hub.initialize(deal, 0))
            sms, task = SmsClient(network.sms), task_id(deal, 0)
            challenge = sms.challenge(task, wallet)
            session = sms.session(_authorization(task, wallet, challenge, signer=wallet), wallet).session_id
        return cls(task, wallet, challenge, session)


def _changed_application(stage: Stage, app: Application, rogue: RogueTask) -> tuple[str, str]:
    """(a) The rogue changes a byte of the developer's image and starts it with the real session; then it rebuilds it.

    With the developer's signature the changed file does not fit the signed measurement, so it does not even start;
    built and signed anew it starts, and is another enclave.
    """
    attacker = stage.cast["rogue"]
    environment = {"SCONE_CONFIG_ID": f"{rogue.session}/app"}
    source = attacker.folder / "changed"
    shutil.copytree(owners.APPS / "polynomial", source)
    content = bytearray((source / "app.py").read_bytes())
    content[3] ^= 0x20  # one letter of the first comment, from upper to lower case
    (source / "app.py").write_bytes(content)
    image = read_layout(app.layout)
    changed = attacker.folder / "changed-image"
    write_image(add_layers(image, [_layer(attacker.folder, "app/app.py", bytes(content))]), changed)
    try:
        launch(stage, changed, environment)
    except LaunchRefusedError as error:
        code = error.code
    else:
        raise NotRefusedError("the platform started an image with a changed file")
    rebuilt, _ = owners.build_enclave_image(attacker, source, "changed", signed=True)
    own_code, _ = launch(stage, rebuilt, environment).refusal()
    return code, f"the file is not the one that the developer signed; built and signed by the attacker: {own_code}"


def _layer(folder: Path, path: str, content: bytes) -> Path:
    layer = folder / "changed-layer.tar"
    with layer.open("wb") as stream:
        write_tar([TarEntry(path, "file", content)], stream)
    return layer


def _debug_application(stage: Stage) -> tuple[str, str]:
    """(b) Built without a key: refused in production, run in the debug environment with a warning."""
    developer, requester, network = stage.cast["developer"], stage.cast["requester"], stage.network
    layout, mrenclave = owners.build_enclave_image(
        developer, owners.APPS / "polynomial", "polynomial-debug", signed=False
    )
    app = owners.deploy_application(developer, network, "polynomial-debug", layout, mrenclave)
    owners.publish_application(developer, app, price=0, tag=owners.TAG)
    owners.push_coefficients(developer, app, stage.values)
    run = ("app", "run", app.address, "--tag", owners.TAG, "--secret", "1=point", "--force")
    deal = Bytes32(requester.iexec(*run, "--workerpool", PRODUCTION_POOL)["deals"][0]["dealid"])
    _wait_failed(network.pools[PRODUCTION_POOL].scheduler, task_id(deal, 0))
    refused = [
        line.fields
        for line in cas_audit(stage.paths.data("cas"))
        if line.event == "release" and line.fields["outcome"] == "refused" and line.fields["mrenclave"] == mrenclave
    ]
    if not refused:
        raise NotRefusedError("the CAS has no record of refusing the debug enclave")

    stage.narrator.say("    the same in the debug environment: [yellow]its host can inspect a debug enclave[/yellow]")
    debug = ("--chain", "bellecour-debug")
    developer.iexec("app", "push-secret", app.address, *debug, answers=(owners.coefficients(stage.values),))
    requester.iexec("requester", "push-secret", "point", *debug, answers=(owners.point(stage.values),))
    requester.iexec(*run, "--workerpool", DEBUG_POOL, "--watch", *debug)
    return refused[-1]["code"], refused[-1]["detail"]


def _foreign_task(stage: Stage, rogue: RogueTask) -> tuple[str, str]:
    """(c) Another worker, with an authorization that it made up."""
    outsider = Wallet.create()
    forged = _authorization(rogue.task, outsider, rogue.challenge, signer=outsider)
    try:
        SmsClient(stage.network.sms).session(forged, outsider)
    except SessionRefusedError as error:
        return str(error.failure), "the authorization is not signed by the task's workerpool"
    raise NotRefusedError("the SMS opened a session for a worker that the pool did not authorize")


def _changed_sms(stage: Stage) -> tuple[str, str]:
    """(d) Its operator changes the SMS, signs it anew, and starts it on the old database with the old session."""
    with tempfile.TemporaryDirectory(prefix="adyton-demo-") as folder:
        layout = changed_sms(stage.paths, Path(folder) / "sms")
        database = Path(folder) / "data"
        shutil.copytree(stage.paths.data("sms"), database)
        environment = json.loads((stage.paths.config / "sms.json").read_text(encoding="utf-8"))["environment"]
        environment["SCONE_CONFIG_ID"] = f"{sms_session('production')}/sms"
        code, detail = launch(stage, layout, environment, host_paths={"/data": database}).refusal()
    return code, f"the database key belongs to the SMS as it was measured, and to no other; {detail}"


def _other_cpu(stage: Stage) -> tuple[str, str]:
    """(e) Its operator takes the very CAS and its database to a machine with another CPU."""
    cas = json.loads((stage.paths.config / "cas.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="adyton-demo-") as folder:
        database = Path(folder) / "data"
        shutil.copytree(stage.paths.data("cas"), database)
        ports = private_ports()
        environment = cas["environment"] | {
            "ADYTON_CAS_REST_PORT": str(ports.cas),
            "ADYTON_CAS_ATTESTED_PORT": str(ports.cas_enclave),
        }
        with second_machine(Path(folder)) as socket:
            outcome = launch(stage, Path(cas["layout"]), environment, host_paths={"/data": database}, socket=socket)
        return outcome.logged("cas.sealed.other_platform")


def _authorization(task: Bytes32, worker: Wallet, challenge: Address, *, signer: Wallet) -> WorkerpoolAuthorization:
    digest = authorization_hash(worker.address, task, challenge)
    return WorkerpoolAuthorization.model_validate(
        {
            "chainTaskId": task,
            "workerWallet": worker.address,
            "enclaveChallenge": challenge,
            "signature": {"value": to_hex(signer.sign_personal(word_bytes(digest)))},
        }
    )


def _wallet_of(person: Person) -> Wallet:
    return Wallet.from_hex(json.loads((person.folder / "wallet.json").read_text(encoding="utf-8"))["privateKey"])


def _wait_failed(scheduler: str, task: Bytes32) -> None:
    client = HttpClient(scheduler, "the scheduler")
    deadline = time.monotonic() + _FAILED_WITHIN_S
    status = "unknown"
    while time.monotonic() < deadline:
        answer = client.request("GET", f"/tasks/{task}", expect=(200, 404))
        if answer.status_code == 200:
            status = answer.json()["currentStatus"]
            if status == "FAILED":
                return
            if status == "COMPLETED":
                break
        time.sleep(0.2)
    raise NotRefusedError(f"the debug enclave's task is {status} in production")
