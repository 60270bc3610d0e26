"""What a relying party accepts: a frozen value that :func:`adyton.attestation.dcap.verify.verify_quote` judges by.

The names to tolerate are those of SCONE session documents (``security.attestation.tolerate``). A weakness that has
several causes is accepted only when every cause is tolerated; ``Revoked`` is never accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from adyton.attestation.anchors import TrustAnchor
from adyton.base.errors import InputError

ALL_ADVISORIES = "*"
_ADVISORY = re.compile(r"\*|INTEL-SA-\d{5}")


class Weakness(StrEnum):
    """Conditions that are refused unless a policy tolerates them by name."""

    DEBUG_MODE = "debug-mode"  # the host can read the enclave's memory
    # The PCK certificate says that SMT is on. The vendor's levels take it into account where it matters to the vendor;
    # that it must be tolerated by name is SCONE's rule, and that we ask it about SGX enclaves only is our judgement:
    # servers with TDX have SMT on as a rule, and a name that everybody must tolerate says nothing.
    HYPERTHREADING = "hyperthreading"
    INSECURE_IGPU = "insecure-igpu"  # known to SCONE; DCAP evidence has no such statement, so it excuses nothing
    OUTDATED_TCB = "outdated-tcb"  # OutOfDate, OutOfDateConfigurationNeeded
    SOFTWARE_HARDENING_NEEDED = "software-hardening-needed"  # SWHardeningNeeded and compounds
    INSECURE_CONFIGURATION = "insecure-configuration"  # ConfigurationNeeded and compounds


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """Which platforms are good enough, whoever runs on them: enough for a report to people, never for a release.

    Attributes:
        anchors: accepted roots; at least one.
        tolerate: weaknesses accepted.
        ignore_advisories: ``INTEL-SA-nnnnn`` names that do not matter here, or ``*``.
        min_evaluation_number: lowest accepted ``tcbEvaluationDataNumber`` of the collateral.

    Raises:
        InputError: no anchor, or a malformed member.
    """

    anchors: tuple[TrustAnchor, ...]
    tolerate: frozenset[Weakness] = frozenset()
    ignore_advisories: frozenset[str] = frozenset()
    min_evaluation_number: int = 0

    def __post_init__(self) -> None:
        """Refuse a policy without a root."""
        if not self.anchors:
            raise InputError("a quote policy needs at least one trust anchor", code="attestation.policy.anchors")
        unknown = [name for name in self.ignore_advisories if not _ADVISORY.fullmatch(name)]
        if unknown:
            raise InputError(f"{unknown[0]!r} is not an advisory", code="attestation.policy.advisory")

    def tolerates(self, weakness: Weakness) -> bool:
        """Whether ``weakness`` is accepted."""
        return weakness in self.tolerate

    def ignores(self, advisory: str) -> bool:
        """Whether ``advisory`` does not matter under this policy."""
        return ALL_ADVISORIES in self.ignore_advisories or advisory in self.ignore_advisories


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotePolicy(HealthPolicy):
    """Which evidence is good enough: a healthy platform, and on it one of the named programs.

    Evidence of a technology for which the policy names nothing is refused.

    Attributes:
        mrenclaves: accepted SGX measurements (32 bytes each); empty = any measurement by an accepted signer.
        mrsigners: accepted SGX signers (32 bytes each); empty = any signer of an accepted measurement.
        isvprodid: the SGX product, required where no measurement is pinned.
        min_isvsvn: lowest accepted security version of the enclave.
        mrtds: accepted TDX build-time measurements (48 bytes each).
        rtmrs: register number (0 to 3) to its accepted TDX run-time measurements (48 bytes each).
        mrconfigids: accepted TDX configurations (48 bytes each), which who starts a TD gives it; empty = any.
        mrservicetds: accepted TDX service TDs (48 bytes each); empty = a TD with service TDs is refused.
        snp_measurements: accepted SEV-SNP launch measurements (48 bytes each).
        pcrs: register number (0 to 31) to its accepted Nitro measurements (48 bytes each).

    Raises:
        InputError: nothing is pinned, or a malformed member.
    """

    mrenclaves: frozenset[bytes] = frozenset()
    mrsigners: frozenset[bytes] = frozenset()
    isvprodid: int | None = None
    min_isvsvn: int = 0
    mrtds: frozenset[bytes] = frozenset()
    rtmrs: Mapping[int, frozenset[bytes]] = field(default_factory=lambda: MappingProxyType({}))
    mrconfigids: frozenset[bytes] = frozenset()
    mrservicetds: frozenset[bytes] = frozenset()
    snp_measurements: frozenset[bytes] = frozenset()
    pcrs: Mapping[int, frozenset[bytes]] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        """Refuse a policy that would accept any program."""
        HealthPolicy.__post_init__(self)
        if not (self.pins_enclaves or self.pins_tds or self.snp_measurements or self.pcrs):
            raise InputError(
                "a quote policy that pins nothing would accept any enclave",
                code="attestation.policy.unpinned",
                hint="list accepted MRENCLAVE values, or accepted MRSIGNER values together with ISVPRODID",
            )
        if (self.rtmrs or self.mrconfigids or self.mrservicetds) and not self.pins_tds:
            raise InputError(
                "RTMRs, MRCONFIGIDs and MRSERVICETDs mean nothing without MRTDs",
                code="attestation.policy.unpinned",
                hint="list accepted MRTD values: what runs first decides what the other registers hold",
            )
        self._check_values()

    def _check_values(self) -> None:
        if any(len(value) != 32 for value in self.mrenclaves | self.mrsigners):
            raise InputError("MRENCLAVE and MRSIGNER values have 32 bytes", code="attestation.policy.measurement")
        if (self.isvprodid is not None and not 0 <= self.isvprodid <= 0xFFFF) or not 0 <= self.min_isvsvn <= 0xFFFF:
            raise InputError("ISVPRODID and ISVSVN are 0 to 65535", code="attestation.policy.measurement")
        registers = frozenset[bytes]().union(*self.rtmrs.values(), *self.pcrs.values())
        tds = self.mrtds | self.mrconfigids | self.mrservicetds
        if any(len(value) != 48 for value in tds | self.snp_measurements | registers):
            raise InputError("TDX, SNP and PCR values have 48 bytes", code="attestation.policy.measurement")
        if not all((*self.rtmrs.values(), *self.pcrs.values())):
            raise InputError("a register that accepts no value accepts nothing", code="attestation.policy.register")
        if not (all(0 <= n <= 3 for n in self.rtmrs) and all(0 <= n <= 31 for n in self.pcrs)):
            raise InputError("RTMRs are 0 to 3, PCRs 0 to 31", code="attestation.policy.register")

    @property
    def pins_enclaves(self) -> bool:
        """Whether it says which SGX enclaves are meant."""
        return bool(self.mrenclaves) or (bool(self.mrsigners) and self.isvprodid is not None)

    @property
    def pins_tds(self) -> bool:
        """Whether it says which TDX trust domains are meant."""
        return bool(self.mrtds)


def parse_tolerate(names: Iterable[str]) -> frozenset[Weakness]:
    """Read ``security.attestation.tolerate`` of a session document.

    Raises:
        InputError: a name that is not known; ignoring it could tolerate less, or more, than was meant.
    """
    try:
        return frozenset(Weakness(name) for name in names)
    except ValueError as error:
        known = ", ".join(sorted(Weakness))
        raise InputError(str(error), code="attestation.policy.tolerate", hint=f"known are: {known}") from error
