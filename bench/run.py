"""``make bench``: measures, prints progress, writes ``bench-report.json``; uses public commands and interfaces only."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from bench.processes import MissingError
from bench.row import Row

from adyton.base.errors import AdytonError
from adyton.base.files import write_atomic
from bench import cas_load, enclave_measure, memory, network_ready, quote_verify, ratls_mutual, sms_load, tee_task

MEASURES: Final[dict[str, Callable[[], Row]]] = {
    "enclave.measure": enclave_measure.measure,
    "devnet.ready": network_ready.measure,
    "task.tee.overhead": tee_task.measure,
    "quote.verify.cached": quote_verify.measure_cached,
    "quote.verify.cold": quote_verify.measure_cold,
    "ratls.mutual": ratls_mutual.measure,
    "sms.push": sms_load.measure_push,
    "sms.push.checked": sms_load.measure_push_checked,
    "sms.push.postgresql": sms_load.measure_push_postgresql,
    "sms.session": sms_load.measure_session,
    "sms.session.postgresql": sms_load.measure_session_postgresql,
    "sms.memory": memory.measure_sms,
    "cas.release": cas_load.measure_release,
    "cas.release.mutual": cas_load.measure_release_mutual,
    "cas.memory": memory.measure_cas,
}


def main() -> int:
    """Run all measurements; 1 when one of them could not be made, unless what it needs is missing here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, default=Path("bench-report.json"))
    parser.add_argument("--only", default="", help="rows whose names begin so, for example sms.push")
    options = parser.parse_args()
    rows = []
    try:
        for name, measure in MEASURES.items():
            if not name.startswith(options.only):
                continue
            try:
                row = measure()
            except MissingError as missing:
                print(f"{name}: missing: {missing.message}", flush=True)
                continue
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
