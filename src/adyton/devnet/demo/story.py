"""The main job from the first wallet to the verified result, told as it happens."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from adyton import __version__
from adyton.base.errors import AdytonError
from adyton.base.types import Bytes32, parse_address
from adyton.chain.hashing import task_id
from adyton.chain.rpc import Rpc
from adyton.chain.tx import TxSender
from adyton.devnet import foreground, supervision
from adyton.devnet.demo import evidence, owners, refusals
from adyton.devnet.demo.audit import sms_audit
from adyton.devnet.demo.owners import Application, DemoSecrets
from adyton.devnet.demo.people import Person
from adyton.devnet.demo.report import Narrator, Report
from adyton.devnet.demo.stage import Stage
from adyton.devnet.demo.verify import Verified, verify_confidential, verify_standard
from adyton.devnet.demo.watch import Purchase, PurchaseWatcher
from adyton.devnet.local import production_pool
from adyton.devnet.network import PRODUCTION_POOL, Network
from adyton.devnet.operators import operator
from adyton.devnet.paths import NetworkPaths
from adyton.devnet.ports import private_ports

_FUNDS_WEI = 10 * 10**18


def run_demo(report_file: Path, *, keep: bool) -> bool:
    """Start a network, do the main job and the refusals, stop the network; True when everything was verified.

    Args:
        report_file: where the report goes, whatever happens.
        keep: leave the network running and the people's folders in place.
    """
    signal.signal(signal.SIGTERM, _interrupt)  # ends like Ctrl-C: with a report, and nothing left running
    narrator, report = Narrator(), Report()
    root = Path(tempfile.mkdtemp(prefix="adyton-demo-"))
    paths = NetworkPaths.of(root / "network")
    try:
        _tell(narrator, report, paths, root / "people", keep=keep)
    except (AdytonError, KeyboardInterrupt) as error:
        report.error = str(error) or type(error).__name__
        narrator.chapter("The demonstration did not end well")
        narrator.say(f"[red]{report.error}[/red]")
        hint = getattr(error, "hint", "")
        if hint:
            narrator.say(hint)
    finally:
        report.seconds = round(narrator.seconds, 1)
        report.write(report_file)
        _leave(narrator, paths, root, keep=keep)
    narrator.say(f"report: {report_file}")
    return report.ok


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(narrator: Narrator, report: Report, paths: NetworkPaths, people: Path, *, keep: bool) -> None:
    narrator.chapter("A whole network on this machine")
    with narrator.doing("starting chain, platform, CAS, SMS, market, results, schedulers, workers"):
        network = foreground.start_detached(paths, private_ports(), say=narrator.progress, tied=not keep)
    report.network = {"version": __version__, "state": str(paths.root), **_public(network)}
    report.timing["networkReady"] = network.ready_s
    narrator.say(f"evidence tier {network.tier}: [yellow]simulated[/yellow], not secret from this machine's root")

    stage = Stage(narrator, network, paths, _cast(narrator, network, paths, people), DemoSecrets.random())
    app, dataset, push_seconds = _prepare(stage)
    purchase, archive, buy_seconds = _buy(stage, app, dataset)
    verified = _verify(stage, purchase, archive)
    report.result = verified.to_json()
    report.task = {
        "taskid": purchase.task_id,
        "dealid": purchase.deal_id,
        "status": "COMPLETED",
        "resultDigest": verified.digest,
    }
    report.timing["purchaseToCompleted"] = round(purchase.seconds, 2)
    report.steps = evidence.steps(
        evidence.Story(
            paths=paths,
            network=network,
            pool=production_pool(network),
            app=app,
            owners={
                "developer": app.address,
                "datasetOwner": dataset["address"],
                "requester": stage.cast["requester"].address,
            },
            purchase=purchase,
            push_seconds=push_seconds,
            buy_seconds=buy_seconds,
        )
    )
    report.standard = _standard(stage)
    narrator.chapter("Five attacks, each refused")
    report.refusals = refusals.all_five(stage, app)
    report.ok = all(refusal.refused for refusal in report.refusals)
    _summary(narrator, report, network)


def _cast(narrator: Narrator, network: Network, paths: NetworkPaths, folder: Path) -> dict[str, Person]:
    narrator.chapter("Three owners and a requester, each with a wallet of their own")
    cast = {
        name: Person.create(name, folder / name, network.chain_json())
        for name in ("developer", "owner", "requester", "rogue")
    }
    sender = TxSender(Rpc(network.rpc), operator(paths, "faucet"), network.chain_id)
    for person in cast.values():
        sender.send(parse_address(person.address), value=_FUNDS_WEI)
        narrator.say(f"{person.name:<10} {person.address}")
    return cast


def _prepare(stage: Stage) -> tuple[Application, dict[str, str], float]:
    narrator, network, cast, values = stage.narrator, stage.network, stage.cast, stage.values
    developer, owner, requester = cast["developer"], cast["owner"], cast["requester"]
    with narrator.doing("developer: native image, then a production enclave signed with an RSA-3072 key"):
        layout, mrenclave = owners.build_enclave_image(developer, owners.APPS / "polynomial", "polynomial", signed=True)
    narrator.say(f"MRENCLAVE {mrenclave}")
    with narrator.doing("developer: image to the registry, app deploy, app publish"):
        app = owners.deploy_application(developer, network, "polynomial", layout, mrenclave)
        owners.publish_application(developer, app, price=owners.APP_PRICE, tag=owners.TAG)
    pushing = time.monotonic()
    with narrator.doing("developer: the coefficients go to the SMS"):
        owners.push_coefficients(developer, app, values)
    with narrator.doing("dataset owner: encrypt, upload, deploy, key to the SMS, order for that app only"):
        dataset = owners.offer_dataset(owner, network, app, values)
    with narrator.doing("requester: the point to the SMS, a key pair for the result, a deposit"):
        owners.prepare_requester(requester, values)
    return app, dataset, round(time.monotonic() - pushing, 2)


def _buy(stage: Stage, app: Application, dataset: dict[str, str]) -> tuple[Purchase, Path, float]:
    narrator, network, requester = stage.narrator, stage.network, stage.cast["requester"]
    narrator.chapter("The requester buys, and the ten steps happen")
    watcher = PurchaseWatcher(network, production_pool(network).scheduler, narrator.say)
    watcher.start()
    begun = time.monotonic()
    try:
        answer = requester.iexec(
            *("app", "run", app.address, "--workerpool", PRODUCTION_POOL, "--dataset", dataset["address"]),
            *("--tag", owners.TAG, "--secret", "1=point", "--encrypt-result", "--watch", "--force"),
            lost=watcher.failure,
        )
    finally:
        purchase = watcher.stop()
    deal = Bytes32(answer["deals"][0]["dealid"])
    if purchase.deal_id != deal or "completed" not in purchase.seen:
        raise owners.ToolFailedError(f"the purchase {deal} was not seen completed on the chain")
    shown = requester.iexec("task", "show", task_id(deal, 0), "--download", "result", "--decrypt")
    return purchase, Path(shown["resultPath"]), round(purchase.seen["bought"] - begun, 2)


def _verify(stage: Stage, purchase: Purchase, archive: Path) -> Verified:
    narrator = stage.narrator
    narrator.chapter("Verification")
    made = [
        line.fields["address"]
        for line in sms_audit(stage.paths.data("sms"))
        if line.event == "challenge.created" and line.fields["task"] == purchase.task_id
    ]
    verified = verify_confidential(stage.network, purchase, archive, stage.values.expected, parse_address(made[0]))
    narrator.say(f"decrypted result {verified.value} = computed independently {verified.expected}", "[green]✓[/green]")
    narrator.say(f"sha256 of the result = digest on chain {verified.digest}", "[green]✓[/green]")
    narrator.say(f"signed by the task's enclave key {verified.enclave_signer}", "[green]✓[/green]")
    return verified


def _standard(stage: Stage) -> dict[str, str]:
    narrator, network, cast = stage.narrator, stage.network, stage.cast
    narrator.chapter("A standard application through the same pool, as anyone would run it first")
    developer, requester = cast["developer"], cast["requester"]
    with narrator.doing("developer: build, deploy, publish"):
        native = developer.folder / "hello-native"
        owners.tool(
            developer.folder,
            *("adyton", "image", "build", str(owners.APPS / "hello"), str(native), "--command", owners.COMMAND),
        )
        hello = owners.deploy_application(developer, network, "hello", native, None)
        owners.publish_application(developer, hello, price=0, tag=None)
    with narrator.doing("requester: app run --args Adyton --watch, download"):
        answer = requester.iexec(
            *("app", "run", hello.address, "--workerpool", PRODUCTION_POOL, "--args", "Adyton", "--watch", "--force")
        )
        task = task_id(Bytes32(answer["deals"][0]["dealid"]), 0)
        shown = requester.iexec("task", "show", task, "--download", "hello")
    told = verify_standard(network, task, Path(shown["resultPath"]), "greeting.txt")
    narrator.say(f"result: {told['text']}", "[green]✓[/green]")
    return told


def _summary(narrator: Narrator, report: Report, network: Network) -> None:
    narrator.chapter("Summary")
    narrator.say(f"network ready in [bold]{network.ready_s:.1f} s[/bold] (aim: 15 s)")
    spent = report.timing["purchaseToCompleted"]
    narrator.say(f"purchase to COMPLETED in [bold]{spent:.1f} s[/bold], the application's own time included (aim: 6 s)")
    refused = sum(refusal.refused for refusal in report.refusals)
    narrator.say(f"{refused} of {len(report.refusals)} attacks refused; result verified")


def _leave(narrator: Narrator, paths: NetworkPaths, root: Path, *, keep: bool) -> None:
    if keep:
        narrator.say(f"the network keeps running: adyton status --state {paths.root}")
        narrator.say(f"stop it with: adyton down --state {paths.root}; people's folders: {root / 'people'}")
        return
    supervision.stop(paths)
    shutil.rmtree(root, ignore_errors=True)


def _public(network: Network) -> dict[str, object]:
    """The network's description for the report."""
    return asdict(network) | {"cpus": os.cpu_count()}
