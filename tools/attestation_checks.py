"""Fills the tables of checks in ``docs/attestation.md`` from the code: ``python tools/attestation_checks.py``.

Each table stands between ``<!-- checks: NAME -->`` and ``<!-- end -->``; a test compares the page with what this makes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from adyton.attestation import checks
from adyton.attestation.nitro import appraise as nitro
from adyton.attestation.ratls import certificate as ratls
from adyton.attestation.snp import appraise as snp

PAGE = Path(__file__).parents[1] / "docs" / "attestation.md"
TABLES: Mapping[str, Mapping[str, str]] = {
    "certificate": ratls.CERTIFICATE_CHECKS | {ratls.BINDING_CHECK: "the quote is over these claims and zeros"},
    "evidence": checks.EVIDENCE_CHECKS,
    "module": checks.MODULE_CHECKS,
    "tcb": checks.TCB_CHECKS,
    "enclave": checks.ENCLAVE_CHECKS,
    "td": checks.TD_CHECKS,
    "opinion": checks.OPINION_CHECKS,
    "snp": snp.SNP_CHECKS,
    "nitro": nitro.NITRO_CHECKS,
}
_PLACE = re.compile(r"(<!-- checks: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str) -> str:
    """The page with every table as the code has it."""
    return _PLACE.sub(lambda match: match[1] + _table(TABLES[match[2]]) + match[3], page)


def _table(table: Mapping[str, str]) -> str:
    lines = [f"| `{code}` | {meaning.replace('|', '&#124;')} |" for code, meaning in table.items()]
    return "\n".join(["| check | what is proven |", "|---|---|", *lines, ""])


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
