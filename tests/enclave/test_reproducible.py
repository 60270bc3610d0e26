"""The same inputs give the same bytes: built twice by processes that have nothing in common but program and inputs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.enclave.handmade import AGENT, DAY, layout, manifest, signer

from adyton.content.oci import read_layout
from adyton.enclave import base
from adyton.enclave.image import EnclaveImage
from adyton.enclave.manifest import TrustedFile
from adyton.enclave.measure import measure, scan
from adyton.enclave.native import build_image
from adyton.enclave.sigstruct import new_signer_pem

_BIN = Path(sys.executable).parent
_FILES = {
    "app.py": b"print('hello')\n", "data/z.bin": bytes(5000), "data/a.bin": b"", "data/\u00e4\u20ac.txt": b"names\n",
    "bin/run.sh": b"#!/bin/sh\n", "data/copy.bin": bytes(5000), "B": b"upper case sorts first", "a b": b"space",
}  # fmt: skip
_BUILD = """
import os, sys
os.umask(int(sys.argv[1], 8))
from adyton.cli.adyton.main import main
from adyton.cli import sconify
app, out, key = sys.argv[2:5]
try:
    main(["image", "build", app, f"{out}/native"])
except SystemExit as done:
    assert not done.code, done
options = ["--name=demo", f"--from={out}/native", f"--scone-signer={key}", "--host-path=/data/"]
environment = ["--host-path=/etc/hosts", "--env=B=2", "--env=A=1", "--host-env=Z", "--host-env=Y"]
sys.exit(sconify.main([*options, *environment[::int(sys.argv[5])], f"--to={out}/enclave", *sys.argv[6:]]))
"""


@dataclass(frozen=True)
class Place:
    """Everything about a build that must not matter."""

    name: str
    umask: str
    mtime: int
    owner: int
    reverse: bool
    environment: dict[str, str]
    day: tuple[str, ...]


_HERE = Place(
    "here", "022", 1_000_000_000, 0, False,
    {"LC_ALL": "C", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": "1795305600"}, (),
)  # fmt: skip
_THERE = Place(
    "a much longer folder name/elsewhere", "077", 1_900_000_000, 12345, True,
    {"LC_ALL": "C.UTF-8", "TZ": "America/Anchorage", "PYTHONHASHSEED": "4242", "PYTHONDONTWRITEBYTECODE": "1",
     "PYTHONOPTIMIZE": "1", "COLUMNS": "40"},
    (f"--date={DAY}",),
)  # fmt: skip


def _write(folder: Path, place: Place) -> Path:
    """The application, in another order of directory entries, with other times, owners, modes and links."""
    for name in sorted(_FILES, reverse=place.reverse):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if name == "data/copy.bin" and place.reverse and (folder / "data/z.bin").exists():
            os.link(folder / "data/z.bin", file)
        else:
            file.write_bytes(_FILES[name])
        executable = 0o111 if name.startswith("bin/") else 0
        file.chmod((0o600 if place.reverse else 0o664) | executable)
    (folder / "link").symlink_to("data//./z.bin")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / place.environment["PYTHONHASHSEED"]).touch()
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (place.mtime, place.mtime), follow_symlinks=False)
        if os.geteuid() == 0:
            os.chown(path, place.owner, place.owner, follow_symlinks=False)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The outcome of building the same enclave in two places, each from an empty cache."""
    root = tmp_path_factory.mktemp("places")
    pem = new_signer_pem()
    places = {}
    for place in (_HERE, _THERE):
        folder = root / place.name
        app = _write(folder / "app", place)
        key = folder / f"key {place.umask}.pem"
        key.write_bytes(pem)
        key.chmod(0o600)
        (folder / "out").mkdir()
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
        step = "-1" if place.reverse else "1"
        done = subprocess.run(
            [sys.executable, "-c", _BUILD, place.umask, app, folder / "out", key, step, *place.day],
            env=environment | place.environment, cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        places[place.name] = folder / "out"
    yield places
    shutil.rmtree(root)


def test_the_application_s_image_is_the_same(built: dict[str, Path]) -> None:
    here, there = (read_layout(out / "native") for out in built.values())
    assert here.digest == there.digest


def test_measurement_signature_and_digest_are_the_same(built: dict[str, Path]) -> None:
    here, there = (EnclaveImage.load(out / "enclave") for out in built.values())
    assert here.mrenclave == there.mrenclave
    assert here.manifest == there.manifest
    assert here.sigstruct.to_bytes() == there.sigstruct.to_bytes()
    assert here.sigstruct.signed_on == DAY  # SOURCE_DATE_EPOCH of one is the --date of the other
    assert here.digest == there.digest


def test_every_blob_is_the_same(built: dict[str, Path]) -> None:
    for image in ("native", "enclave"):
        here, there = (
            {path.relative_to(out): path.read_bytes() for path in (out / image).rglob("*") if path.is_file()}
            for out in built.values()
        )
        assert here.keys() == there.keys()
        assert [name for name in here if here[name] != there[name]] == []


def test_names_beyond_ascii_are_measured_as_utf8(built: dict[str, Path]) -> None:
    for out in built.values():
        assert "/app/data/\u00e4\u20ac.txt" in EnclaveImage.load(out / "enclave").manifest.trusted_files


def test_nothing_of_the_places_is_in_the_images(built: dict[str, Path]) -> None:
    for place, out in zip((_HERE, _THERE), built.values(), strict=True):
        config = read_layout(out / "enclave").config_blob.read(1 << 20).decode()
        text = EnclaveImage.load(out / "enclave").manifest.to_json().decode()
        assert str(out.parent) not in config + text
        assert place.environment["TZ"] not in config + text


def test_hard_links_of_the_application_are_files_of_their_own(tmp_path: Path) -> None:
    cache = base.cache_folder()
    for name in ("linked", "copied"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one").write_bytes(b"same")
        (tmp_path / name / "one").chmod(0o755)
    os.link(tmp_path / "linked/one", tmp_path / "linked/two")
    shutil.copy(tmp_path / "copied/one", tmp_path / "copied/two")
    linked, copied = (
        build_image(tmp_path / name, tmp_path / f"{name}-out", cache=cache) for name in ("linked", "copied")
    )
    assert linked == copied


_SCAN = """
import sys
from pathlib import Path
from adyton.enclave.measure import scan
sys.stdout.buffer.write("\\n".join(sorted(scan(Path(sys.argv[1])))).encode())
"""


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"LC_ALL": "C.UTF-8"}, id="UTF-8"),
        pytest.param({"LC_ALL": "C"}, id="C"),
        pytest.param({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, id="ASCII"),
    ],
)
def test_names_are_measured_alike_in_every_locale(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "\u00e4\u20ac").touch()
    (tmp_path / "z").symlink_to("\u00e4\u20ac")
    done = subprocess.run([sys.executable, "-c", _SCAN, tmp_path], env=environment, capture_output=True, check=True)
    assert done.stdout.decode().split("\n") == sorted(scan(tmp_path))


@pytest.mark.parametrize("words", [("image", "build", "{app}", "{out}"), ("enclave", "inspect", "{image}")])
def test_a_locale_that_would_change_names_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    app = _write(tmp_path / "app", _HERE)
    places = {"app": app, "out": tmp_path / "out", "image": layout(tmp_path / "image")}
    done = subprocess.run(
        [_BIN / "adyton", *(word.format(**places) for word in words)],
        env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "enclave.build.locale" in done.stderr
    assert "PYTHONUTF8=1" in done.stderr


def test_the_order_in_which_files_are_found_does_not_matter() -> None:
    files = {AGENT: TrustedFile("ab" * 32), "/z": TrustedFile("cd" * 32), "/a": TrustedFile("ef" * 32)}
    orders = [dict(sorted(files.items())), dict(sorted(files.items(), reverse=True))]
    assert len({measure(manifest(trusted_files=order)) for order in orders}) == 1


def test_signing_again_elsewhere_gives_the_same_bytes(built: dict[str, Path], tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415

    key = tmp_path / "key.pem"
    key.write_bytes(signer().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    digests = set()
    for number, out in enumerate(built.values()):
        target = tmp_path / f"signed {number}"
        words = ["enclave", "sign", str(out / "enclave"), f"--key={key}", f"--out={target}", f"--date={DAY}"]
        subprocess.run([_BIN / "adyton", *words], check=True, capture_output=True)
        digests.add(read_layout(target).digest)
    assert len(digests) == 1
