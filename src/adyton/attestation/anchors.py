"""Trust anchors as named tiers: a vendor's name, or ``sim:<sha256 of the root certificate's DER>``.

The tier is part of every verification result, so that nobody takes simulated evidence for real. A simulated root must
say so in its name, and the production profile refuses to start with one (:func:`require_production`).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from adyton.attestation.errors import AttestationError
from adyton.base.errors import InputError

# SHA-256 of the DER of "Intel SGX Root CA" (certificates.trustedservices.intel.com/IntelSGXRootCA.der), valid to 2049.
INTEL_ROOT_SHA256 = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"

# Vendors: tier to the SHA-256 of the DER of each of their roots.
ROOTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType({"intel": frozenset({INTEL_ROOT_SHA256})})

_SIMULATED = re.compile(r"sim:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """One root that evidence may chain to.

    Attributes:
        tier: a key of :data:`ROOTS` or ``sim:<fingerprint>``, as it appears in results, policies and audit records.

    Raises:
        InputError: any other text, or a ``sim:`` name for a vendor's own root.
    """

    tier: str

    def __post_init__(self) -> None:
        """Check the name."""
        match = _SIMULATED.fullmatch(self.tier)
        if self.tier not in ROOTS and (match is None or any(match[1] in roots for roots in ROOTS.values())):
            raise InputError(
                f"{self.tier!r} is not a trust anchor",
                code="attestation.anchor.name",
                hint=f"an anchor is one of {', '.join(ROOTS)}, or 'sim:' and the SHA-256 of the simulated root in hex",
            )

    @classmethod
    def simulated_root(cls, root_der: bytes) -> TrustAnchor:
        """The anchor of a simulated platform's root certificate."""
        return cls("sim:" + hashlib.sha256(root_der).hexdigest())

    @property
    def simulated(self) -> bool:
        """Whether evidence under this anchor proves formats and policy only, not secrecy."""
        return self.tier not in ROOTS

    def accepts(self, root_sha256: str) -> bool:
        """Whether this anchor is the root certificate whose DER has this SHA-256 (lowercase hex)."""
        if self.simulated:
            return hmac.compare_digest(self.tier.removeprefix("sim:"), root_sha256)
        return root_sha256 in ROOTS[self.tier]


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
