"""The platform as it is seen from inside an enclave, the same for simulated and real back ends.

Nothing here says which platform it is: only the root certificate of the evidence tells simulated from real.
"""

from __future__ import annotations

from typing import Protocol

from adyton.attestation.formats.sgx import KeyRequest, ReportBody, TargetInfo
from adyton.base.errors import AdytonError
from adyton.base.secret import Secret


class Platform(Protocol):
    """What the CPU and its quoting enclave do for the enclave that calls."""

    def report(self, target_info: TargetInfo, report_data: bytes) -> bytes:
        """EREPORT: a REPORT (432 bytes) with 64 bytes of ``report_data`` that only the target can check.

        Raises:
            PlatformError: the platform refuses or cannot be reached.
        """

    def quote(self, report_data: bytes) -> bytes:
        """A quote over this enclave's identity and 64 bytes of ``report_data``, for verifiers elsewhere.

        Raises:
            PlatformError: the platform refuses or cannot be reached.
        """

    def seal_key(self, request: KeyRequest) -> Secret[bytes]:
        """EGETKEY: the 16-byte key that ``request`` names, for this enclave on this CPU.

        Raises:
            SgxError: the CPU refuses the request; ``sgx_code`` says why.
            PlatformError: the platform refuses or cannot be reached.
        """

    def identity(self) -> ReportBody:
        """This enclave's own identity and the CPU's current CPUSVN, with zero report data."""


class PlatformError(AdytonError):
    """The platform did not do what an enclave asked for."""

    code = "platform.failed"


# Return codes of EINIT and EGETKEY (Intel SDM vol. 3D, "SGX Instruction References", error code tables).
SGX_ERRORS = {
    1: "invalid_sig_struct",
    2: "invalid_attribute",
    4: "invalid_measurement",
    8: "invalid_signature",
    16: "invalid_einittoken",
    32: "invalid_cpusvn",
    64: "invalid_isvsvn",
    128: "unmasked_event",
    256: "invalid_keyname",
}
GENERAL_PROTECTION = 0  # ``sgx_code`` of a request that makes the instruction fault (#GP) instead of returning a code


class SgxError(PlatformError):
    """An SGX instruction refused.

    Attributes:
        instruction: ``EINIT``, ``EREPORT`` or ``EGETKEY``.
        sgx_code: the CPU's numeric return code, or :data:`GENERAL_PROTECTION` where it would fault.
    """

    def __init__(self, instruction: str, sgx_code: int, detail: str) -> None:
        name = SGX_ERRORS.get(sgx_code, "general_protection" if sgx_code == GENERAL_PROTECTION else "unknown")
        super().__init__(f"{instruction}: {name.upper()} ({sgx_code}): {detail}", code=f"platform.sgx.{name}")
        self.instruction = instruction
        self.sgx_code = sgx_code
        self.detail = detail
