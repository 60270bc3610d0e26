"""``make bench``: measures, prints progress, writes ``bench-report.json``; uses public commands and interfaces only."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import enclave_measure
import network_ready
import quote_verify
import ratls_mutual
import tee_task

from adyton.base.errors import AdytonError
from adyton.base.files import write_atomic

MEASURES = (
    enclave_measure.measure,
    network_ready.measure,
    tee_task.measure,
    quote_verify.measure_cached,
    quote_verify.measure_cold,
    ratls_mutual.measure,
)


def main() -> int:
    """Run all measurements; 1 when one of them could not be made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("bench-report.json"))
    options = parser.parse_args()
    rows = []
    try:
        for measure in MEASURES:
            row = measure()
            rows.append(row)
            print(f"{row.name}: {row.value:g} {row.unit} (versus {row.versus}: {row.ratio:g})", flush=True)
    except AdytonError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n{error.hint}\n")
        return 1
    finally:
        write_atomic(options.report, json.dumps([asdict(row) for row in rows], indent=2).encode() + b"\n")
    print(f"report: {options.report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
