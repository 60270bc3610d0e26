"""What each party does before anything is bought: build, deploy, push secrets, publish orders."""

from __future__ import annotations

import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adyton.base.errors import AdytonError
from adyton.base.secret import Secret
from adyton.devnet.demo.people import Person
from adyton.devnet.network import Network
from adyton.results.client import IpfsClient

APPS = Path(__file__).parent / "apps"
APP_PRICE = 10_000_000  # nRLC: 0.01 RLC
DATASET_PRICE = 20_000_000
TAG = "tee,scone"
HEAP = "512M"
HEAP_BYTES = 512 << 20
COMMAND = "python3 /app/app.py"


class ToolFailedError(AdytonError):
    """A tool that one of the people used failed."""

    code = "demo.tool"


@dataclass(frozen=True, slots=True)
class Application:
    """A deployed application: where it is on chain, what it measures, and where its image is."""

    address: str
    mrenclave: str
    image: str
    digest: str
    layout: Path


@dataclass(frozen=True, slots=True)
class DemoSecrets:
    """The secrets of the three parties, random at every run, and what they must give together."""

    coefficients: tuple[int, ...]
    point: int
    amounts: tuple[int, ...]

    @classmethod
    def random(cls) -> DemoSecrets:
        """Fresh secrets."""
        return cls(
            coefficients=tuple(secrets.randbelow(2000) - 1000 for _ in range(4)),
            point=secrets.randbelow(200) - 100,
            amounts=tuple(secrets.randbelow(100_000) for _ in range(25)),
        )

    @property
    def expected(self) -> int:
        """The result, computed here independently of the application: powers, not Horner's scheme."""
        powers = (self.point**3, self.point**2, self.point, 1)
        return sum(a * x for a, x in zip(self.coefficients, powers, strict=True)) + sum(self.amounts)


def tool(folder: Path, *words: str) -> str:
    """Run one of our own commands and return what it printed.

    Raises:
        ToolFailedError: it failed; carries its last words.
    """
    done = subprocess.run(
        [str(Path(sys.executable).parent / words[0]), *words[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        raise ToolFailedError(f"{' '.join(words[:3])} failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout.strip()


def build_enclave_image(developer: Person, source: Path, name: str, *, signed: bool) -> tuple[Path, str]:
    """Build the application natively, then into an enclave image; returns the layout and its MRENCLAVE."""
    folder = developer.folder
    native, confidential = folder / f"{name}-native", folder / f"{name}-tee"
    tool(folder, "adyton", "image", "build", str(source), str(native), "--command", COMMAND)
    options = [
        f"--name={name}",
        f"--from={native}",
        f"--to={confidential}",
        "--binary-fs",
        "--fs-dir=/app",
        "--binary=/usr/local/bin/python3",
        f"--heap={HEAP}",
        "--dlopen=1",
        "--mprotect=1",
        f"--command={COMMAND}",
        "--no-color",
    ]
    if signed:
        key = folder / "signer-key.pem"
        if not key.exists():
            tool(folder, "adyton", "enclave", "new-key", str(key))
        options.append(f"--scone-signer={key}")
    tool(folder, "sconify_iexec", *options)
    return confidential, tool(folder, "adyton", "enclave", "hash", str(confidential))


def deploy_application(
    developer: Person, network: Network, name: str, layout: Path, mrenclave: str | None
) -> Application:
    """Push the image to the network's registry and deploy the application that names it."""
    registry = network.results.removeprefix("http://")
    image = f"{registry}/{developer.name}/{name}:1.0.0"
    digest = tool(developer.folder, "adyton", "image", "push", str(layout), image)
    developer.iexec("app", "init")
    app: dict[str, Any] = {
        "owner": developer.address,
        "name": name,
        "type": "DOCKER",
        "multiaddr": image,
        "checksum": "0x" + digest.removeprefix("sha256:"),
    }
    if mrenclave is not None:
        app["mrenclave"] = {
            "framework": "SCONE",
            "version": "v5",
            "entrypoint": COMMAND,
            "heapSize": HEAP_BYTES,
            "fingerprint": mrenclave,
        }
    developer.edit("iexec.json", app=app)
    address = developer.iexec("app", "deploy")["address"]
    return Application(address, mrenclave or "", image, digest, layout)


def publish_application(developer: Person, app: Application, *, price: int, tag: str | None) -> str:
    """Offer the application on the market; returns the order's hash."""
    words = ["app", "publish", app.address, "--price", str(price), "--volume", "1000", "--force"]
    return str(developer.iexec(*words, *(["--tag", tag] if tag else []))["orderHash"])


def push_coefficients(developer: Person, app: Application, values: DemoSecrets) -> None:
    """The developer's secret: the polynomial's coefficients."""
    developer.iexec("app", "push-secret", app.address, answers=(coefficients(values),))


def coefficients(values: DemoSecrets) -> Secret[str]:
    """The developer's secret as it is pushed."""
    return Secret(",".join(map(str, values.coefficients)))


def point(values: DemoSecrets) -> Secret[str]:
    """The requester's secret as it is pushed."""
    return Secret(str(values.point))


def offer_dataset(owner: Person, network: Network, app: Application, values: DemoSecrets) -> dict[str, str]:
    """Encrypt, upload, deploy, give the key to the SMS, and offer the dataset to that application only."""
    owner.iexec("dataset", "init", "--encrypted")
    original = owner.folder / "datasets" / "original" / "payments.csv"
    original.write_text("amount\n" + "".join(f"{amount}\n" for amount in values.amounts), encoding="utf-8")
    encrypted = owner.iexec("dataset", "encrypt", "--force")["encryptedFiles"][0]
    ipfs = IpfsClient(network.results, network.results)
    cid = ipfs.add(Path(encrypted["encrypted"]).read_bytes())
    owner.edit(
        "iexec.json",
        dataset={"name": "payments", "multiaddr": f"/ipfs/{cid}", "checksum": encrypted["checksum"]},
    )
    address = owner.iexec("dataset", "deploy")["address"]
    owner.iexec("dataset", "push-secret", address)
    order = owner.iexec(
        *("dataset", "publish", address, "--price", str(DATASET_PRICE), "--volume", "1000"),
        *("--tag", TAG, "--app-restrict", app.address, "--force"),
    )["orderHash"]
    return {"address": address, "cid": str(cid), "checksum": encrypted["checksum"], "order": order}


def prepare_requester(requester: Person, values: DemoSecrets) -> None:
    """Push the point, make the key pair that results are encrypted for, and deposit money to pay with."""
    requester.iexec("requester", "push-secret", "point", answers=(point(values),))
    requester.iexec("result", "generate-encryption-keypair", "--force")
    requester.iexec("result", "push-encryption-key")
    requester.iexec("account", "deposit", "1", "RLC")
