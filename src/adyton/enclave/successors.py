"""Who may approve a successor of an enclave: its manifest names them, so it consents to them by its own measurement.

An enclave's keys from the CAS are closed to every other measurement. One that is built with an upgrade policy can be
followed by another measurement, once that many of the named keys have approved it in the CAS; see docs/cas.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Self

from adyton.enclave.errors import ManifestError

MAX_APPROVERS: Final = 16
_KEY_HASH: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class UpgradePolicy:
    """The keys of which a number must approve.

    Attributes:
        approvers: key hashes of client certificates (SHA-256 of SubjectPublicKeyInfo, lowercase hex), sorted.
        threshold: how many of them must approve.

    Raises:
        ManifestError: an approver is no key hash, or named twice, or out of order; or too many or too few of them.
    """

    approvers: tuple[str, ...]
    threshold: int

    def __post_init__(self) -> None:
        for value in self.approvers:
            if not isinstance(value, str) or not _KEY_HASH.fullmatch(value):
                raise ManifestError(f"the approver {value!r} is not a key hash of 64 lowercase hex digits")
        if list(self.approvers) != sorted(set(self.approvers)):
            raise ManifestError("the approvers are not in order, each once")
        if not 1 <= len(self.approvers) <= MAX_APPROVERS:
            raise ManifestError(f"{len(self.approvers)} approvers; there may be 1 to {MAX_APPROVERS}")
        if type(self.threshold) is not int or not 1 <= self.threshold <= len(self.approvers):
            raise ManifestError(f"the threshold {self.threshold!r} is not within 1..{len(self.approvers)}")

    def to_plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {"approvers": list(self.approvers), "threshold": self.threshold}

    @classmethod
    def from_plain(cls, item: Any) -> Self:  # noqa: ANN401  # JSON is any
        """The inverse of :meth:`to_plain`.

        Raises:
            ManifestError: other members, or other values than a policy may have.
        """
        if (
            not isinstance(item, dict)
            or item.keys() != {"approvers", "threshold"}
            or not isinstance(item["approvers"], list)
        ):
            raise ManifestError("the manifest's upgrade is not {approvers, threshold}")
        return cls(tuple(item["approvers"]), item["threshold"])
