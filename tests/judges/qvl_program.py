"""A whole program for a bare interpreter: has Intel's QVL judge the cases given as JSON on standard input.

``python -I -S qvl_program.py FOLDER`` with the packages of requirements-judge.lock in FOLDER. Each case has the
arguments of the library's ``verify``, the quote as hex and the time as seconds since 1970. The answer is one list of
``{"ok", "statuses"}``, or ``{"error"}`` where the library raises, for each case.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any


def judge(case: dict[str, Any]) -> dict[str, Any]:
    """The library's verdict on one case."""
    from sgx_dcap_quote_verify import verify  # noqa: PLC0415  # found only after main() has set the path

    now = datetime.fromtimestamp(case.pop("now"), UTC).replace(tzinfo=None)  # the library reads local time: see main()
    try:
        result = verify(**case | {"quote": bytes.fromhex(case["quote"]), "expiration_date": now})
    except (RuntimeError, ValueError) as error:
        return {"ok": False, "error": str(error)}
    parts = ("pck_certificate", "tcb_info", "qe_identity", "quote")
    return {"ok": result.ok, "statuses": {part: getattr(result, f"{part}_status").name for part in parts}}


def main() -> None:
    """Answer on standard output."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    sys.path.insert(0, sys.argv[1])
    json.dump([judge(case) for case in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
