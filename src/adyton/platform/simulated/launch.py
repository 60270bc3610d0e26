"""Launch control: who may start enclaves on a CPU, by its signer register or by a launch enclave's token.

Where IA32_SGXLEPUBKEYHASH is locked, EINIT takes enclaves of that signer, and others with an EINITTOKEN that an enclave
of that signer made (Intel SDM vol. 3D, "EINIT Token Structure (EINITTOKEN)" and the EINIT operation). Linux writes the
register before each EINIT instead, which makes every signer its own authority.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.cmac import CMAC

from adyton.attestation.errors import FormatError
from adyton.attestation.formats.layout import Layout, Structure
from adyton.attestation.formats.sgx import Attributes
from adyton.base.secret import Secret
from adyton.platform.protocol import SgxError

INVALID_ATTRIBUTE: Final = 2
INVALID_MEASUREMENT: Final = 4
INVALID_EINITTOKEN: Final = 16
INVALID_CPUSVN: Final = 32

TOKEN_BYTES: Final = 304
_SIGNED_BYTES: Final = 192  # what the token's MAC covers
_MASKED_ATTRIBUTES: Final = 240


@dataclass(frozen=True, slots=True)
class EinitToken(Structure):
    """EINITTOKEN (304 bytes): a launch enclave's leave to start one enclave with these attributes on this CPU.

    ``cpusvn``, ``isvprodid``, ``isvsvn``, ``masked_miscselect``, ``masked_attributes`` and ``keyid`` are of the launch
    enclave: they lead to its key.
    """

    LAYOUT: ClassVar[Layout] = Layout(
        "EINITTOKEN",
        TOKEN_BYTES,
        (
            ("valid", 0, "I"),
            ("attributes", 48, Attributes),
            ("mrenclave", 64, "32s"),
            ("mrsigner", 128, "32s"),
            ("cpusvn", 192, "16s"),
            ("isvprodid", 208, "H"),
            ("isvsvn", 210, "H"),
            ("masked_miscselect", 236, "I"),
            ("masked_attributes", _MASKED_ATTRIBUTES, Attributes),
            ("keyid", 256, "32s"),
            ("mac", 288, "16s"),
        ),
    )

    valid: int
    attributes: Attributes
    mrenclave: bytes
    mrsigner: bytes
    cpusvn: bytes
    isvprodid: int
    isvsvn: int
    masked_miscselect: int
    masked_attributes: Attributes
    keyid: bytes
    mac: bytes = bytes(16)

    def mac_under(self, key: Secret[bytes]) -> bytes:
        """The token's MAC under the launch key."""
        return cmac(key.reveal(), self.to_bytes()[:_SIGNED_BYTES])


def _no_key(_token: EinitToken) -> Secret[bytes]:
    raise SgxError("EINIT", INVALID_EINITTOKEN, "this CPU takes no tokens")


@dataclass(frozen=True, slots=True)
class LaunchControl:
    """How one EINIT is controlled.

    Attributes:
        le_pubkey_hash: IA32_SGXLEPUBKEYHASH; None: the driver sets it to each enclave's signer, and like that of Linux
            gives nobody the launch enclave's attribute.
        token: the EINITTOKEN; all zero is an invalid one.
        cpusvn: current microcode level.
        key: derives the launch key that a token was made with.
    """

    le_pubkey_hash: bytes | None = None
    token: bytes = bytes(TOKEN_BYTES)
    cpusvn: bytes = bytes(16)
    key: Callable[[EinitToken], Secret[bytes]] = field(default=_no_key)

    def check(self, mrenclave: bytes, mrsigner: bytes, attributes: Attributes) -> None:
        """Whether the enclave may start, in the order of the SDM.

        Raises:
            SgxError: with EINIT's code.
        """
        if len(self.token) != TOKEN_BYTES:
            raise _refused(INVALID_EINITTOKEN, f"a token has {TOKEN_BYTES} bytes, not {len(self.token)}")
        if not self.token[0] & 1:
            if self.le_pubkey_hash is not None and mrsigner != self.le_pubkey_hash:
                raise _refused(INVALID_EINITTOKEN, "launch control is locked to another signer, and there is no token")
            return
        token = self._read(attributes)
        if any(asked > current for asked, current in zip(token.cpusvn, self.cpusvn, strict=True)):
            raise _refused(INVALID_CPUSVN, "the token was made at a newer microcode level")
        if not hmac.compare_digest(token.mac, token.mac_under(self.key(token))):
            raise _refused(INVALID_EINITTOKEN, "the token was not made by this CPU's launch enclave")
        if (token.mrenclave, token.mrsigner) != (mrenclave, mrsigner):
            raise _refused(INVALID_MEASUREMENT, "the token is for another enclave")
        if token.attributes != attributes:
            raise _refused(INVALID_ATTRIBUTE, "the token is for other attributes")

    def _read(self, attributes: Attributes) -> EinitToken:
        masked = Attributes.parse(self.token[_MASKED_ATTRIBUTES : _MASKED_ATTRIBUTES + 16])
        if masked.debug and not attributes.debug:
            raise _refused(INVALID_EINITTOKEN, "a debug launch enclave starts no production enclaves")
        try:
            token = EinitToken.parse(self.token)
        except FormatError as error:
            raise _refused(INVALID_EINITTOKEN, error.message) from error
        if token.valid != 1:
            raise _refused(INVALID_EINITTOKEN, "reserved bits of VALID are set")
        return token


def cmac(key: bytes, data: bytes) -> bytes:
    """AES-128-CMAC (NIST SP 800-38B), the CPU's one primitive."""
    mac = CMAC(AES128(key))
    mac.update(data)
    return mac.finalize()


def _refused(code: int, detail: str) -> SgxError:
    return SgxError("EINIT", code, detail)
