"""What a relying party accepts: a frozen value that :func:`adyton.attestation.verify.verify_quote` judges by.

The names to tolerate are those of SCONE session documents (``security.attestation.tolerate``). A weakness that has
several causes is accepted only when every cause is tolerated; ``Revoked`` is never accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from adyton.attestation.anchors import TrustAnchor
from adyton.base.errors import InputError

ALL_ADVISORIES = "*"
_ADVISORY = re.compile(r"\*|INTEL-SA-\d{5}")


class Weakness(StrEnum):
    """Conditions that are refused unless a policy tolerates them by name."""

    DEBUG_MODE = "debug-mode"  # the host can read the enclave's memory
    HYPERTHREADING = "hyperthreading"  # the PCK certificate says that SMT is on
    INSECURE_IGPU = "insecure-igpu"  # known to SCONE; DCAP evidence has no such statement, so it excuses nothing
    OUTDATED_TCB = "outdated-tcb"  # OutOfDate, OutOfDateConfigurationNeeded
    SOFTWARE_HARDENING_NEEDED = "software-hardening-needed"  # SWHardeningNeeded and compounds
    INSECURE_CONFIGURATION = "insecure-configuration"  # ConfigurationNeeded and compounds


@dataclass(frozen=True, slots=True)
class QuotePolicy:
    """Which evidence is good enough.

    Attributes:
        anchors: accepted roots; at least one.
        mrenclaves: accepted measurements (32 bytes each); empty = any measurement by an accepted signer.
        mrsigners: accepted signers (32 bytes each); empty = any signer of an accepted measurement.
        isvprodid: the product, required where no measurement is pinned.
        min_isvsvn: lowest accepted security version of the enclave.
        tolerate: weaknesses accepted.
        ignore_advisories: ``INTEL-SA-nnnnn`` names that do not matter here, or ``*``.
        min_evaluation_number: lowest accepted ``tcbEvaluationDataNumber`` of the collateral.

    Raises:
        InputError: no anchor, neither measurement nor signer with product, or a malformed member.
    """

    anchors: tuple[TrustAnchor, ...]
    mrenclaves: frozenset[bytes] = frozenset()
    mrsigners: frozenset[bytes] = frozenset()
    isvprodid: int | None = None
    min_isvsvn: int = 0
    tolerate: frozenset[Weakness] = frozenset()
    ignore_advisories: frozenset[str] = frozenset()
    min_evaluation_number: int = 0

    def __post_init__(self) -> None:
        """Refuse a policy that would accept any enclave or any root."""
        if not self.anchors:
            raise InputError("a quote policy needs at least one trust anchor", code="attestation.policy.anchors")
        if not self.mrenclaves and not (self.mrsigners and self.isvprodid is not None):
            raise InputError(
                "a quote policy that pins nothing would accept any enclave",
                code="attestation.policy.unpinned",
                hint="list accepted MRENCLAVE values, or accepted MRSIGNER values together with ISVPRODID",
            )
        if any(len(value) != 32 for value in self.mrenclaves | self.mrsigners):
            raise InputError("MRENCLAVE and MRSIGNER values have 32 bytes", code="attestation.policy.measurement")
        unknown = [name for name in self.ignore_advisories if not _ADVISORY.fullmatch(name)]
        if unknown:
            raise InputError(f"{unknown[0]!r} is not an advisory", code="attestation.policy.advisory")

    def tolerates(self, weakness: Weakness) -> bool:
        """Whether ``weakness`` is accepted."""
        return weakness in self.tolerate

    def ignores(self, advisory: str) -> bool:
        """Whether ``advisory`` does not matter under this policy."""
        return ALL_ADVISORIES in self.ignore_advisories or advisory in self.ignore_advisories


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
