"""What is burnt into a simulated CPU, what its firmware says, and who may use it: the files of a machine's folder.

| file | |
|---|---|
| ``machine/fuses`` | 32 bytes, made once: the two fused secrets. Other fuses are another CPU |
| ``machine/owner-epoch`` | 32 hex digits; zero where it is missing. Another epoch loses all that was sealed |
| ``machine/cpusvn`` | 32 hex digits: the microcode's level; a new machine's where it is missing |
| ``platform.lock`` | locked by the daemon while it runs, so that no other one uses the same secrets |

On real hardware the owner changes the epoch in the firmware's set-up, and microcode comes with the BIOS. The functions
here do the same, on a machine that is off.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from adyton.base.errors import AdytonError, InputError
from adyton.base.files import write_private
from adyton.base.secret import Secret
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN, FusedSecrets

SVN_BYTES: Final = 16
EPOCH_BYTES: Final = 16
LOCK_FILE: Final = "platform.lock"


class StateInUseError(AdytonError):
    """A platform daemon runs on this state folder."""

    code = "platform.state.in_use"


@dataclass(frozen=True, slots=True)
class MachineState:
    """One machine that is off.

    Attributes:
        fuses: the CPU's secrets.
        owner_epoch: 16 bytes.
        cpusvn: 16 comparable components.
    """

    fuses: FusedSecrets
    owner_epoch: bytes = bytes(EPOCH_BYTES)
    cpusvn: bytes = DEFAULT_CPUSVN

    @classmethod
    def create(cls) -> MachineState:
        """A new machine."""
        return cls(FusedSecrets.create())

    @classmethod
    def load(cls, folder: Path) -> MachineState:
        """The machine in ``folder``; made there, for this user only, where there is none.

        Raises:
            InputError: ``platform.fuses``, ``platform.state.format``: a damaged file.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (folder / "fuses").exists():
            cls.create().save(folder)
        fuses = FusedSecrets.from_bytes(Secret((folder / "fuses").read_bytes()))
        epoch = _read_hex(folder / "owner-epoch", EPOCH_BYTES, bytes(EPOCH_BYTES))
        return cls(fuses, epoch, _read_hex(folder / "cpusvn", SVN_BYTES, DEFAULT_CPUSVN))

    def save(self, folder: Path) -> None:
        """Write all files, the fuses last: while they are missing there is no machine."""
        write_private(folder / "owner-epoch", self.owner_epoch.hex().encode() + b"\n")
        write_private(folder / "cpusvn", self.cpusvn.hex().encode() + b"\n")
        write_private(folder / "fuses", self.fuses.to_bytes().reveal())

    def with_new_cpu(self) -> MachineState:
        """The same board with another CPU: what the old one sealed is lost."""
        return replace(self, fuses=FusedSecrets.create())

    def with_new_epoch(self) -> MachineState:
        """The same CPU after its owner changed the epoch: what was sealed before is lost."""
        return replace(self, owner_epoch=os.urandom(EPOCH_BYTES))

    def with_microcode(self, component: int, step: int) -> MachineState:
        """The same CPU with another microcode: one component of CPUSVN moved by ``step``.

        Raises:
            InputError: ``platform.cpusvn``: no such component, or its SVN would not fit a byte.
        """
        if not 1 <= component <= SVN_BYTES:
            raise InputError(f"CPUSVN has the components 1 to {SVN_BYTES}, not {component}", code="platform.cpusvn")
        value = self.cpusvn[component - 1] + step
        if not 0 <= value <= 0xFF:
            raise InputError(f"component {component} of CPUSVN cannot become {value}", code="platform.cpusvn")
        return replace(self, cpusvn=self.cpusvn[: component - 1] + bytes([value]) + self.cpusvn[component:])


@contextlib.contextmanager
def exclusive(state: Path) -> Iterator[None]:
    """Keep every other daemon and command off a state folder; the kernel takes the lock back when this process ends.

    The folder is made, and made private, where it is not.

    Raises:
        StateInUseError: somebody has it.
        InputError: ``platform.state.unusable``: the folder or its lock file cannot be used.
    """
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        state.chmod(0o700)
        descriptor = os.open(state / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise InputError(
            f"the platform cannot use its state folder: {error.filename}: {error.strerror}",
            code="platform.state.unusable",
            hint="it must be a folder of this user's own, and its lock file no link",
        ) from error
    with os.fdopen(descriptor, "r+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = stream.read(32).decode(errors="replace").strip() or "unknown"
            raise StateInUseError(
                f"process {owner} runs the platform in {state}",
                hint="stop it first ('adyton down', or SIGTERM), or use another state folder",
            ) from error
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n".encode())
        stream.flush()
        yield


def _read_hex(path: Path, size: int, missing: bytes) -> bytes:
    if not path.exists():
        return missing
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != size:
        raise InputError(
            f"{path} does not hold {2 * size} hex digits",
            code="platform.state.format",
            hint="restore it from a backup; without the right value nothing that was sealed here opens",
        )
    return value
