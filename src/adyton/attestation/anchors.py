"""Trust anchors as named tiers: ``intel`` or ``sim:<sha256 of the root certificate's DER>``.

The tier is part of every verification result, so that nobody takes simulated evidence for real. A simulated root must
say so in its name, and the production profile refuses to start with one (:func:`require_production`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from adyton.attestation.errors import AttestationError
from adyton.base.errors import InputError

# SHA-256 of the DER of "Intel SGX Root CA" (certificates.trustedservices.intel.com/IntelSGXRootCA.der), valid to 2049.
INTEL_ROOT_SHA256 = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"

_SIMULATED = re.compile(r"sim:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """One root that evidence may chain to.

    Attributes:
        tier: ``intel`` or ``sim:<fingerprint>``, as it appears in results, policies and audit records.

    Raises:
        InputError: any other text, or a ``sim:`` name for Intel's own root.
    """

    tier: str

    def __post_init__(self) -> None:
        """Check the name."""
        match = _SIMULATED.fullmatch(self.tier)
        if self.tier != "intel" and (match is None or match[1] == INTEL_ROOT_SHA256):
            raise InputError(
                f"{self.tier!r} is not a trust anchor",
                code="attestation.anchor.name",
                hint="an anchor is 'intel' or 'sim:' and the SHA-256 of the simulated root certificate in hex",
            )

    @classmethod
    def simulated_root(cls, root_der: bytes) -> TrustAnchor:
        """The anchor of a simulated platform's root certificate."""
        return cls("sim:" + hashlib.sha256(root_der).hexdigest())

    @property
    def simulated(self) -> bool:
        """Whether evidence under this anchor proves formats and policy only, not secrecy."""
        return self.tier != "intel"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root certificate's DER, hex."""
        return self.tier.removeprefix("sim:") if self.simulated else INTEL_ROOT_SHA256


INTEL = TrustAnchor("intel")


def require_production(anchors: Iterable[TrustAnchor]) -> None:
    """Refuse simulated anchors; every production profile calls this at start-up.

    Raises:
        AttestationError: ``attestation.anchor.simulated``.
    """
    for anchor in anchors:
        if anchor.simulated:
            raise AttestationError(
                f"the production profile refuses the trust anchor {anchor.tier}",
                code="attestation.anchor.simulated",
                hint="simulated evidence proves no secrecy; use the development profile, or the anchor 'intel'",
            )
