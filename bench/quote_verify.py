"""``quote.verify.cached`` and ``quote.verify.cold``: quotes verified in a second, held against dcap-qvl.

Both sides verify the same quotes in one process and take turns; the median of the rounds counts. The quotes are of one
simulated platform, each with other report data. dcap-qvl gets its collateral as an object that is made once.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

import dcap_qvl
from bench.row import Row

from adyton.attestation.anchors import INTEL
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.judge import read_pck
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.dcap.verify import Verifier, verify_quote
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.formats.sgx import Attributes, Flag, ReportBody
from adyton.attestation.policy import QuotePolicy, Weakness
from adyton.attestation.verdict import EvidenceKind
from adyton.enclave.sigstruct import new_signer, sign
from adyton.platform.simulated.cpu import FusedSecrets, SimulatedCpu
from adyton.platform.simulated.pki import SimulatedVendor
from adyton.platform.simulated.qe import LocalPlatform, QuotingEnclave

AIM_TIMES: Final = 3.0
ROUNDS: Final = 9
QUOTES: Final = {"cached": 300, "cold": 60}
_NOW: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_MRENCLAVE: Final = hashlib.sha256(b"adyton bench").digest()
_EVIDENCE: Final = Path(__file__).resolve().parents[2] / "shared" / "evidence"


@dataclass(frozen=True)
class _Case:
    """Quotes of one platform with all that they are judged by; a CollateralSource, too."""

    quotes: Sequence[bytes]
    collateral: Collateral
    root: bytes
    policy: QuotePolicy
    now: datetime

    def fetch(self, _fmspc: str, _ca: CaKind, _kind: EvidenceKind = EvidenceKind.SGX) -> Collateral:
        return self.collateral


def measure_cached() -> Row:
    """A service's verifier that has seen the platform before."""
    return _row("cached", _cached, "collateral, PCK chain and attestation key judged before and kept, as in a service")


def measure_cold() -> Row:
    """Everything judged anew for every quote, as dcap-qvl does."""
    return _row("cold", _cold, "nothing kept: collateral, all chains, lists and documents judged anew for each quote")


def _row(kind: str, make: Callable[[_Case], Callable[[bytes], object]], what: str) -> Row:
    own, other = _compare(kind, simulated(), make)
    told = [f"simulated SGX v3, {QUOTES[kind]} distinct quotes: {own:.0f}/s against {other:.0f}/s"]
    for name, case in real().items():
        ours, theirs = _compare(kind, case, make)
        told.append(f"{name} again and again: {ours:.0f}/s against {theirs:.0f}/s, ratio {ours / theirs:.2f}")
    aim = f"; the aim is {AIM_TIMES:g}" if kind == "cached" else ""
    note = f"{what}; one process, one core, median of {ROUNDS} alternating rounds{aim}; {'; '.join(told)}"
    versus = f"dcap-qvl {dcap_qvl.__version__} on the same quotes"
    return Row(f"quote.verify.{kind}", round(own), "quotes/s", versus, round(own / other, 2), note)


def _compare(kind: str, case: _Case, make: Callable[[_Case], Callable[[bytes], object]]) -> tuple[float, float]:
    """Median rates of ours and of dcap-qvl."""
    quotes = [case.quotes[number % len(case.quotes)] for number in range(QUOTES[kind])]
    ours, theirs = make(case), _other(case)
    rates = [(_rate(ours, quotes), _rate(theirs, quotes)) for _ in range(ROUNDS)]
    own, other = (statistics.median(column) for column in zip(*rates, strict=True))
    return own, other


def _rate(verify: Callable[[bytes], object], quotes: Sequence[bytes]) -> float:
    begun = time.perf_counter()
    for quote in quotes:
        verify(quote)
    return len(quotes) / (time.perf_counter() - begun)


def _cached(case: _Case) -> Callable[[bytes], object]:
    verifier = Verifier(case, clock=lambda: case.now)
    verifier.verify(case.quotes[0], case.policy)
    return lambda quote: verifier.verify(quote, case.policy)


def _cold(case: _Case) -> Callable[[bytes], object]:
    return lambda quote: verify_quote(quote, case.collateral, case.policy, case.now)


def _other(case: _Case) -> Callable[[bytes], object]:
    copy = dcap_qvl.QuoteCollateralV3(*(getattr(case.collateral, each.name) for each in fields(Collateral)))
    seconds = int(case.now.timestamp())
    return lambda quote: dcap_qvl.verify_with_root_ca(quote, copy, case.root, seconds)


@cache
def simulated() -> _Case:
    """A simulated platform and its quotes of one enclave."""
    vendor = SimulatedVendor.in_memory()
    cpu = SimulatedCpu(FusedSecrets.create())
    qe = QuotingEnclave(cpu, vendor, clock=lambda: _NOW)
    sigstruct = sign(_MRENCLAVE, new_signer(), debug=False, isvprodid=1, isvsvn=1, signed_on=_NOW.date())
    identity = cpu.einit(_MRENCLAVE, sigstruct.to_bytes(), Attributes(Flag.MODE64BIT))
    platform = LocalPlatform(cpu, qe, identity)
    quotes = [platform.quote(number.to_bytes(64, "big")) for number in range(max(QUOTES.values()))]
    policy = QuotePolicy(anchors=(vendor.anchor,), mrenclaves=frozenset({_MRENCLAVE}))
    return _Case(quotes, vendor.collateral(_NOW), vendor.root_der, policy, _NOW)


@cache
def real() -> dict[str, _Case]:
    """One quote of real hardware of each technology, where they are at hand."""
    found = {}
    for name, file in (("real SGX v3", "sgx_quote"), ("real TDX v4", "tdx_quote")):
        if not (_EVIDENCE / file).is_file():
            continue
        quote = (_EVIDENCE / file).read_bytes()
        collateral = Collateral.from_json((_EVIDENCE / f"{file}_collateral.json").read_bytes())
        parsed = parse_quote(quote)
        body = parsed.body
        policy = QuotePolicy(
            anchors=(INTEL,),
            mrenclaves=frozenset({body.mrenclave} if isinstance(body, ReportBody) else ()),
            mrtds=frozenset(() if isinstance(body, ReportBody) else {body.mrtd}),
            tolerate=frozenset(Weakness),
            ignore_advisories=frozenset("*"),
        )
        now = collateral.window()[0] + timedelta(days=1)
        found[name] = _Case([quote], collateral, read_pck(parsed).root_der, policy, now)
    return found


if __name__ == "__main__":
    print(measure_cached())
    print(measure_cold())
