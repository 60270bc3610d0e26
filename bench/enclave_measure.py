"""``enclave.measure``: seconds to measure an enclave of 100 MB, held against ``sha256sum`` over the same files.

Measuring is what a platform does with an image that it meets for the first time: parse the manifest, compute MRENCLAVE
(records of every page, with the default heap of 1 GiB and four stacks of 8 MiB), and hash every file of the root file
system against the manifest. Both sides read warm files and take turns; the best run of each counts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.row import Row

from adyton.enclave import measure as enclave
from adyton.enclave.manifest import Manifest

AIM_TIMES: Final = 2.0
BYTES: Final = 100 << 20
RUNS: Final = 7
_AGENT: Final = "/.adyton/runtime/agent.py"


def measure() -> Row:
    """Both trees; the one that is worse, relative to ``sha256sum``, is reported."""
    root = Path(tempfile.mkdtemp(prefix="adyton-bench-"))
    try:
        trees = (("modules of Python packages", _modules), ("large files", _large))
        rows = [_compare(name, _tree(root / str(number), fill)) for number, (name, fill) in enumerate(trees)]
    finally:
        shutil.rmtree(root, ignore_errors=True)
    own, other, _told = max(rows, key=lambda row: row[0] / row[1])
    note = (
        f"manifest, MRENCLAVE with a heap of 1 GiB, and all files against the manifest; warm files, best of {RUNS}"
        f" alternating runs; ratio is twice sha256sum's time over ours, so 1 is the aim and 2 is as quick as sha256sum;"
        f" the worse of: {'; '.join(told for _own, _other, told in rows)}"
    )
    ratio = AIM_TIMES * other / own
    return Row("enclave.measure", round(own, 3), "s", f"{AIM_TIMES:g}x the time of sha256sum", round(ratio, 2), note)


def _compare(name: str, rootfs: Path) -> tuple[float, float, str]:
    """Best seconds of ours and of ``sha256sum``, and what to say of them."""
    data = Manifest(
        name="bench", argv=("a",), runtime=(_AGENT,), trusted_files=enclave.scan(rootfs), config="none"
    ).to_json()
    paths = [os.fspath(path) for path in sorted(rootfs.rglob("*")) if path.is_file() and not path.is_symlink()]
    names = "\0".join(paths).encode()

    def own() -> None:
        manifest = Manifest.from_json(data)
        enclave.measure(manifest)
        enclave.check(rootfs, manifest)

    def other() -> None:
        subprocess.run(["xargs", "-0", "sha256sum"], input=names, stdout=subprocess.DEVNULL, check=True)

    times = [(_seconds(own), _seconds(other)) for _ in range(RUNS)]
    ours, theirs = (min(column) for column in zip(*times, strict=True))
    megabytes = sum(Path(path).stat().st_size for path in paths) / 1e6
    told = (
        f"{len(paths)} {name}, {megabytes:.0f} MB: {ours:.3f} s, {megabytes / ours:.0f} MB/s,"
        f" {ours / theirs:.2f}x sha256sum's {theirs:.3f} s"
    )
    print(f"enclave.measure: {told}", flush=True)
    return ours, theirs, told


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _tree(rootfs: Path, fill: Callable[[Path], None]) -> Path:
    (rootfs / _AGENT[1:]).parent.mkdir(parents=True)
    (rootfs / _AGENT[1:]).write_bytes(b"agent")
    fill(rootfs)
    return rootfs


def _modules(rootfs: Path) -> None:
    """Modules of the Python that runs this and of what is installed in it: thousands of small files."""
    total = 0
    for number in range(100):  # again below another name where one installation is too small
        for folder in (sys.prefix, sys.base_prefix):
            library = Path(folder, "lib")
            for source in sorted(library.rglob("*")):
                if source.suffix not in (".py", ".pyc") or source.is_symlink() or not source.is_file():
                    continue
                target = rootfs / str(number) / source.relative_to("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
                total += target.stat().st_size
                if total >= BYTES:
                    return


def _large(rootfs: Path) -> None:
    for number in range(4):
        (rootfs / f"large{number}").write_bytes(os.urandom(BYTES // 4))


if __name__ == "__main__":
    print(measure())
