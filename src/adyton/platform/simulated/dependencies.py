"""What a key of the CPU is derived from (SDM vol. 3D, EGETKEY: TMP_KEYDEPENDENCIES).

The SDM publishes the set of inputs, not how they are laid out under the MAC. The layout is this module's own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from adyton.attestation.formats.sgx import Attributes, KeyName
from adyton.platform.simulated.einit import PADDING

FUSE_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDependencies:
    """KEY_DEPENDENCIES of EGETKEY; a field that a key does not depend on stays zero.

    Bytes are of the sizes of their defaults; PADDING, the rest of a decoded PKCS#1 block, is the same for all keys.
    """

    keyname: KeyName
    cpusvn: bytes
    isvprodid: int = 0
    isvsvn: int = 0
    owner_epoch: bytes = bytes(16)
    attributes: Attributes
    attributemask: Attributes = Attributes(0, 0)  # noqa: RUF009  # frozen
    mrenclave: bytes = bytes(32)
    mrsigner: bytes = bytes(32)
    keyid: bytes = bytes(32)
    seal_fuses: bytes = bytes(FUSE_BYTES)
    miscselect: int = 0
    miscmask_inverted: int = 0
    keypolicy: int = 0
    isvfamilyid: bytes = bytes(16)
    isvextprodid: bytes = bytes(16)
    configid: bytes = bytes(64)
    configsvn: int = 0

    def to_bytes(self) -> bytes:
        """All fields, fixed in width and order: two different values never give the same bytes."""
        numbers = struct.pack(
            "<HHHHHII",
            self.keyname,
            self.isvprodid,
            self.isvsvn,
            self.configsvn,
            self.keypolicy,
            self.miscselect,
            self.miscmask_inverted,
        )
        return b"".join(
            (
                numbers,
                self.cpusvn,
                self.owner_epoch,
                self.attributes.to_bytes(),
                self.attributemask.to_bytes(),
                self.mrenclave,
                self.mrsigner,
                self.keyid,
                self.seal_fuses,
                self.isvfamilyid,
                self.isvextprodid,
                self.configid,
                PADDING,
            )
        )
