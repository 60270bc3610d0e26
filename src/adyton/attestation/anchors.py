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

# SHA-256 of the DER of AMD's root keys (ARK) by processor generation, the last certificate of the key distribution
# service's /vcek/v1/<generation>/cert_chain and of its /vlek/v1/<generation>/cert_chain alike.
AMD_ROOTS_SHA256: Final = frozenset(
    {
        "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",  # ARK-Milan, valid to 2045-10-22
        "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",  # ARK-Genoa, valid to 2047-01-26
        "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",  # ARK-Turin, valid to 2048-05-15
    }
)

# SHA-256 of the DER of "aws.nitro-enclaves" G1 (aws-nitro-enclaves.amazonaws.com/AWS_NitroEnclaves_Root-G1.zip), to
# 2049-10-28. Other partitions have roots of their own, which are not accepted.
AWS_ROOT_SHA256 = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"

# Vendors: tier to the SHA-256 of the DER of each of their roots. No root may be in two tiers.
ROOTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "intel": frozenset({INTEL_ROOT_SHA256}),
        "amd": AMD_ROOTS_SHA256,
        "aws": frozenset({AWS_ROOT_SHA256}),
    }
)

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
AMD = TrustAnchor("amd")
AWS = TrustAnchor("aws")


def find(anchors: Iterable[TrustAnchor], root_sha256: str, root_name: str, *, vendor: str) -> TrustAnchor:
    """The first of ``anchors`` that accepts a root for evidence of one vendor's technology.

    Another vendor's anchor is passed over whatever the fingerprint: no vendor vouches for another's hardware.

    Args:
        anchors: the accepted ones.
        root_sha256: of the DER of the root certificate that the evidence chains to, lowercase hex.
        root_name: common name of its subject; that of a simulated root must contain "Simulated".
        vendor: the tier whose technology the evidence is: ``intel``, ``amd`` or ``aws``.

    Raises:
        AttestationError: ``attestation.chain.anchor``: none accepts it, or a simulated root does not say what it is.
    """
    usable = [anchor for anchor in anchors if anchor.simulated or anchor.tier == vendor]
    anchor = next((anchor for anchor in usable if anchor.accepts(root_sha256)), None)
    if anchor is None:
        names = ", ".join(anchor.tier for anchor in usable) or f"no anchor for {vendor!r} evidence"
        raise AttestationError(
            f"the evidence chains to the root {root_sha256}, which is not one of: {names}",
            code="attestation.chain.anchor",
            hint=f"only if you trust it, name its anchor in the policy: {vendor!r}, or 'sim:' and the fingerprint",
        )
    if anchor.simulated and "Simulated" not in root_name:
        raise AttestationError(
            f"the simulated root {root_name!r} does not say that it is Simulated", code="attestation.chain.anchor"
        )
    return anchor


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
                hint="simulated evidence proves no secrecy; use the development profile, or a vendor's anchor",
            )
