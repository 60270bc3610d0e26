"""Verifiers that were not written here, as judges of what the simulated platform makes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.platform.world import World

from adyton.attestation.collateral.documents import Collateral

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = REPOSITORY / "build" / "judge"
PROGRAM = Path(__file__).with_name("qvl_program.py")


@dataclass(frozen=True)
class Case:
    """What is shown to a judge: all of it parameters, the root too."""

    quote: bytes
    chain: bytes  # PCK chain in PEM: leaf, intermediate, root
    collateral: Collateral
    root: str  # trusted root in PEM
    now: datetime

    def arguments(self) -> dict[str, Any]:
        """As Intel's library takes it."""
        certificates = x509.load_pem_x509_certificates(self.chain)
        leaf, intermediate, root = (each.public_bytes(Encoding.PEM).decode() for each in certificates)
        c = self.collateral
        return {
            "trusted_root_ca_certificate": self.root,
            "pck_certificate": leaf,
            "pck_signing_chain": intermediate + root,
            "root_ca_crl": c.root_ca_crl.hex(),
            "intermediate_ca_crl": c.pck_crl.hex(),
            "tcb_info": f'{{"tcbInfo":{c.tcb_info},"signature":"{c.tcb_info_signature.hex()}"}}',
            "tcb_signing_chain": c.tcb_info_issuer_chain,
            "quote": self.quote.hex(),
            "qe_identity": f'{{"enclaveIdentity":{c.qe_identity},"signature":"{c.qe_identity_signature.hex()}"}}',
            "now": int(self.now.timestamp()),
        }


@dataclass(frozen=True)
class Answer:
    """What Intel's library says; ``statuses`` are of PCK certificate, TCB info, QE identity and quote."""

    ok: bool
    statuses: dict[str, str]
    error: str = ""


class IntelQvl:
    """Intel's library, asked in one process of its own for all cases of a question."""

    def ask(self, cases: Sequence[Case]) -> list[Answer]:
        """An answer for each case."""
        answers = subprocess.run(
            [sys.executable, "-I", "-S", PROGRAM, PACKAGES],
            input=json.dumps([case.arguments() for case in cases]).encode(),
            check=True,
            capture_output=True,
        )
        return [Answer(a["ok"], a.get("statuses", {}), a.get("error", "")) for a in json.loads(answers.stdout)]


@pytest.fixture(scope="session")
def intel_qvl() -> IntelQvl:
    """Skips where the library is not installed; `make test` installs it."""
    if not (PACKAGES / ".lock").is_file():
        pytest.skip(
            "Intel's QVL (sgx-dcap-quote-verify-python) is not in build/judge: `make judge` installs it,"
            " on CPython 3.11 and Linux x86_64"
        )
    return IntelQvl()


@pytest.fixture(scope="session")
def world() -> World:
    return World()
