"""Coverage-guided fuzzing of the targets with atheris: ``python -m fuzz.run --seconds 20 [--target NAME]``.

Each target runs in a process of its own, from the corpus of runs before (in ``build/corpus``) and the seeds. An input
that makes a target fail is saved in ``build/crashes``, and the exit status is 1; the same input again:

    python -m fuzz.run --replay build/crashes/quote-crash-… --target quote
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

BUILD: Final = Path("build")
PACKAGES: Final = BUILD / "fuzz"  # made by tools/setup-apart
_LIMITS: Final = ("-timeout=20", "-rss_limit_mb=3072", "-max_len=65536", "-print_final_stats=1", "-verbosity=0")


def main() -> int:
    """Run all targets or one; 1 when a target fails."""
    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing of every reader of bytes from outside.")
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--target", action="append", help="only this one; may be repeated")
    parser.add_argument("--replay", type=Path, help="show one saved input to the target, without the fuzzer")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _fuzz(options.target[0], options.seconds)
    from fuzz.targets import TARGETS  # noqa: PLC0415  # a child must import it under instrumentation

    names = options.target or list(TARGETS)
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        parser.error(f"{unknown[0]!r} is none of: {', '.join(TARGETS)}")
    if options.replay is None and not PACKAGES.is_dir():
        parser.error("the fuzzer is not installed; `make fuzz` does that, on CPython 3.11 and Linux x86_64")
    if options.replay is not None:
        print("read" if TARGETS[names[0]].check(options.replay.read_bytes()) else "refused")
        return 0
    failed = [name for name in names if not _run(name, options.seconds)]
    print(f"failed: {', '.join(failed)}" if failed else f"{len(names)} targets, no failure")
    return int(bool(failed))


def _run(name: str, seconds: int) -> bool:
    """Fuzz one target in a child; whether it held."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(PACKAGES), "."))}
    command = [sys.executable, "-m", "fuzz.run", "--child", "--target", name, "--seconds", str(seconds)]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    executed = re.search(r"number_of_executed_units:\s*(\d+)", child.stderr)
    kept = sum(1 for _ in (BUILD / "corpus" / name).glob("*"))
    held = child.returncode == 0 and executed is not None
    print(
        f"{name:20} {executed[1] if executed else '?':>9} inputs, {kept} kept{'' if held else ', FAILED'}", flush=True
    )
    if not held:
        print(child.stdout[-4_000:] + child.stderr[-6_000:], flush=True)
    return held


def _fuzz(name: str, seconds: int) -> None:
    """In the child: fuzz until the time is over or the target fails; ends the process."""
    # Only here: it is not part of the development environment, and has no types.
    import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]  # noqa: PLC0415

    with atheris.instrument_imports(include=["adyton"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415  # instrumented by being imported here

    corpus, crashes = BUILD / "corpus" / name, BUILD / "crashes"
    for folder in (corpus, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    target = TARGETS[name]
    for seed in target.seeds():
        target.check(seed)
        (corpus / hashlib.sha256(seed).hexdigest()[:40]).write_bytes(seed)
    arguments = [f"-artifact_prefix={crashes / name}-", f"-max_total_time={seconds}", *_LIMITS, str(corpus)]

    def one(data: bytes) -> None:
        target.check(data)

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
