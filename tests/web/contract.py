"""Running Schemathesis against a service that answers: generated requests, good and bad, held against its document."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

MAX_EXAMPLES: Final = int(os.environ.get("ADYTON_CONTRACT_EXAMPLES", "20"))  # for each operation
_LIMIT_S: Final = 1800


def check_contract(document: str, base: str, folder: Path, *options: str, settings: str = "") -> str:
    """Every check of every operation of ``document`` at ``base``; gives the report.

    Checked are: no answer of 5xx, statuses, content types, headers and bodies as documented, what the document forbids
    refused and what it allows not called malformed, security needed where it is said to be, ``Allow`` complete.

    Args:
        document: URL of the document.
        base: URL of the service.
        folder: an empty one to run in.
        options: more options of ``schemathesis run``.
        settings: lines of ``schemathesis.toml``; what is not checked of which operation.

    Raises:
        AssertionError: with the report.
    """
    (folder / "schemathesis.toml").write_text(settings)
    program = Path(sys.executable).with_name("schemathesis")
    limits = ("--max-examples", str(MAX_EXAMPLES), "--generation-deterministic", "--no-shrink", "--continue-on-failure")
    done = subprocess.run(
        [program, "--no-color", "run", document, "--url", base, *limits, *options],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    report = done.stdout + done.stderr
    assert done.returncode == 0, report[-12_000:]
    return report
