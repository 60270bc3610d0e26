"""Why an enclave does not run its program, as its last line on standard error says it."""

from __future__ import annotations

from typing import Final

from adyton.base.errors import AdytonError

EXIT_REFUSED: Final = 121  # trying again does not help
EXIT_FAILED: Final = 122  # something needed could not be reached


class AgentError(AdytonError):
    """What the session, the manifest and the host say does not fit together."""

    code = "runtime.config"


class VolumeError(AdytonError):
    """A protected volume's file is not what this session's services wrote."""

    code = "runtime.volume.altered"
    hint = "the host changed, cut or exchanged the file; start again with the original or an empty folder"
