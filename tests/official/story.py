"""What the people do before and while something is bought, each with the official client only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.network.support import REPOSITORY, RunningNetwork
from tests.official.support import Client, together

from adyton.chain.wallet import Wallet
from adyton.devnet.network import PRODUCTION_POOL, Network
from adyton.results.client import IpfsClient

APPS = REPOSITORY / "src" / "adyton" / "devnet" / "demo" / "apps"
COMMAND = "python3 /app/app.py"
HEAP_BYTES = 512 << 20
TAG = "tee,scone"
APP_PRICE, DATASET_PRICE = 1_000, 2_000

# The secrets, and what the application (a cubic polynomial plus the dataset's sum) must make of them.
COEFFICIENTS, POINT, AMOUNTS = (3, -2, 7, 11), -5, (400, 25, 8)
EXPECTED = 3 * (-5) ** 3 + -2 * (-5) ** 2 + 7 * -5 + 11 + (400 + 25 + 8)


@dataclass
class Stage:
    """The network, the three people, and what the client answered them so far."""

    running: RunningNetwork
    network: Network
    destinations: Path
    developer: Client
    owner: Client
    requester: Client
    addresses: dict[str, str]
    answers: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def enter(cls, running: RunningNetwork, folder: Path) -> Stage:
        """Everybody gets a wallet with the official client, and test money with ours."""
        destinations = folder / "destinations"
        people = {name: Client.create(folder, name, destinations) for name in ("developer", "owner", "requester")}
        made = together(
            lambda: _arrive(people["developer"], running, _create_wallet),
            lambda: _arrive(people["owner"], running, _import_wallet),
            lambda: _arrive(people["requester"], running, _create_wallet),
        )
        return cls(running, running.description, destinations, *people.values(), dict(zip(people, made, strict=True)))


def _arrive(person: Client, running: RunningNetwork, wallet: Callable[[Client], str]) -> str:
    address = wallet(person)
    person.tool("adyton", "chain-json", "--write", "--state", str(running.paths.root))
    person.tool("adyton", "fund", "--state", str(running.paths.root))
    return address


def _create_wallet(person: Client) -> str:
    return str(person.iexec("init", "--unencrypted", "--force")["walletAddress"])


def _import_wallet(person: Client) -> str:
    person.iexec("init", "--skip-wallet", "--force")
    wallet = Wallet.create()
    imported = person.iexec("wallet", "import", "0x" + wallet.private_key().reveal().hex(), "--unencrypted")
    assert imported["address"] == wallet.address
    return wallet.address


def offer_confidential_app(stage: Stage) -> None:
    """Build, measure, deploy, give the secret to the SMS, publish."""
    developer, answers = stage.developer, stage.answers
    _build(developer, "polynomial")
    developer.tool("adyton", "enclave", "new-key", "signer.pem")
    developer.tool(
        *("sconify_iexec", "--name=polynomial", "--from=polynomial-native", "--to=polynomial-tee", "--binary-fs"),
        *("--fs-dir=/app", "--binary=/usr/local/bin/python3", "--heap=512M", "--dlopen=1", "--mprotect=1"),
        *(f"--command={COMMAND}", "--no-color", "--scone-signer=signer.pem"),
    )
    mrenclave = {
        "framework": "SCONE",
        "version": "v5",
        "entrypoint": COMMAND,
        "heapSize": HEAP_BYTES,
        "fingerprint": developer.tool("adyton", "enclave", "hash", "polynomial-tee"),
    }
    app = _deploy_app(stage, "polynomial", "polynomial-tee", mrenclave)
    answers |= {"app": app, "mrenclave": mrenclave}
    developer.iexec("app", "push-secret", app, "--secret-value", ",".join(map(str, COEFFICIENTS)))
    answers["app secret"] = developer.iexec("app", "check-secret", app)
    offer = ("app", "publish", app, "--price", str(APP_PRICE), "--volume", "100", "--force")
    answers["apporder without a tag"] = developer.refused(*offer)
    answers["apporder"] = developer.iexec(*offer, "--tag", TAG)["orderHash"]


def offer_standard_app(stage: Stage) -> None:
    """Build, deploy, publish."""
    _build(stage.developer, "hello")
    stage.answers["hello"] = _deploy_app(stage, "hello", "hello-native", None)
    stage.developer.iexec("app", "publish", stage.answers["hello"], "--force")


def encrypt_dataset(stage: Stage) -> None:
    """Encrypt, upload, deploy, give the key to the SMS."""
    owner, answers = stage.owner, stage.answers
    owner.iexec("dataset", "init", "--encrypted")
    rows = "amount\n" + "".join(f"{amount}\n" for amount in AMOUNTS)
    (owner.folder / "datasets" / "original" / "payments.csv").write_text(rows, encoding="utf-8")
    encrypted = owner.iexec("dataset", "encrypt", "--force")["encryptedFiles"][0]
    # The client uploads nothing; its users give the file to any IPFS node.
    node = IpfsClient(stage.network.results, stage.network.results)
    cid = node.add(Path(encrypted["encrypted"]).read_bytes())
    node.close()
    owner.describe("dataset", name="payments", multiaddr=f"/ipfs/{cid}", checksum=encrypted["checksum"])
    dataset = str(owner.iexec("dataset", "deploy")["address"])
    answers["dataset"] = dataset
    answers["datasetorder without a key"] = owner.refused("dataset", "publish", dataset, "--tag", TAG, "--force")
    owner.iexec("dataset", "push-secret", dataset)
    answers["dataset secret again"] = owner.refused("dataset", "push-secret", dataset)


def offer_dataset(stage: Stage) -> None:
    """Publish, for the confidential application only."""
    stage.answers["datasetorder"] = stage.owner.iexec(
        *("dataset", "publish", stage.answers["dataset"], "--price", str(DATASET_PRICE), "--volume", "100"),
        *("--tag", TAG, "--app-restrict", stage.answers["app"], "--force"),
    )["orderHash"]


def prepare_requester(stage: Stage) -> None:
    """Secret, key pair for results, storage, money."""
    requester, answers = stage.requester, stage.answers
    answers["requester secret"] = requester.iexec("requester", "push-secret", "point", "--secret-value", str(POINT))
    answers["keypair"] = requester.iexec("result", "generate-encryption-keypair", "--force")
    answers["result key"] = requester.iexec("result", "push-encryption-key")
    answers["storage"] = requester.iexec("storage", "init")
    answers["storage update"] = requester.iexec("storage", "init", "--force-update")
    answers["deposit"] = requester.iexec("account", "deposit", "1", "RLC")


def run_confidential_app(stage: Stage) -> None:
    """Buy a task with all three secrets, and watch it to its end."""
    answers = stage.answers
    answers["confidential run"] = stage.requester.iexec(
        *("app", "run", answers["app"], "--workerpool", PRODUCTION_POOL, "--dataset", answers["dataset"]),
        *("--tag", TAG, "--secret", "1=point", "--encrypt-result", "--watch", "--force"),
    )


def run_standard_app(stage: Stage) -> None:
    """Buy a task of an application without enclave, and watch it to its end.

    Another wallet than the one that buys the confidential task at the same time: the client does not number the
    transactions of two commands of one wallet.
    """
    stage.answers["standard run"] = stage.owner.iexec(
        *("app", "run", stage.answers["hello"], "--workerpool", PRODUCTION_POOL),
        *("--args", "official client", "--watch", "--force"),
    )


def _build(developer: Client, name: str) -> None:
    developer.tool("adyton", "image", "build", str(APPS / name), f"{name}-native", "--command", COMMAND)


def _deploy_app(stage: Stage, name: str, layout: str, mrenclave: dict[str, object] | None) -> str:
    image = f"{stage.network.results.removeprefix('http://')}/official/{name}:1.0.0"
    digest = stage.developer.tool("adyton", "image", "push", layout, image)
    stage.developer.iexec("app", "init")
    stage.developer.describe("app", name=name, multiaddr=image, checksum="0x" + digest.removeprefix("sha256:"))
    if mrenclave is not None:
        stage.developer.describe("app", mrenclave=mrenclave)
    return str(stage.developer.iexec("app", "deploy")["address"])
