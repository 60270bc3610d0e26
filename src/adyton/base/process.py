"""What a process that holds keys does first: leave no copy of its memory behind."""

from __future__ import annotations

import ctypes
import resource
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def forbid_dumps() -> None:
    """No core file when the process dies, and no reading of its memory through ``/proc`` by others of its user.

    ``setrlimit(2)`` RLIMIT_CORE and ``prctl(2)`` PR_SET_DUMPABLE, both: the limit does not hold for a
    ``core_pattern`` that pipes into a program, and "not dumpable" is undone by the next ``execve(2)``. Root of the
    host is kept out by the enclave only, not by this.

    Raises:
        OSError: the kernel refuses.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")
