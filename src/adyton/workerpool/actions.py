"""What the scheduler tells a worker to do next, and why it tells it to stop (pool reference 2.8)."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """``TaskNotificationType`` of the official services."""

    PLEASE_CONTINUE = "PLEASE_CONTINUE"
    PLEASE_WAIT = "PLEASE_WAIT"
    PLEASE_START = "PLEASE_START"
    PLEASE_DOWNLOAD_APP = "PLEASE_DOWNLOAD_APP"
    PLEASE_DOWNLOAD_DATA = "PLEASE_DOWNLOAD_DATA"
    PLEASE_COMPUTE = "PLEASE_COMPUTE"
    PLEASE_CONTRIBUTE = "PLEASE_CONTRIBUTE"
    PLEASE_REVEAL = "PLEASE_REVEAL"
    PLEASE_UPLOAD = "PLEASE_UPLOAD"
    PLEASE_CONTRIBUTE_AND_FINALIZE = "PLEASE_CONTRIBUTE_AND_FINALIZE"
    PLEASE_COMPLETE = "PLEASE_COMPLETE"
    PLEASE_ABORT = "PLEASE_ABORT"


class AbortCause(StrEnum):
    """``TaskAbortCause`` of the official services."""

    CONTRIBUTION_TIMEOUT = "CONTRIBUTION_TIMEOUT"
    CONSENSUS_REACHED = "CONSENSUS_REACHED"
    UNKNOWN = "UNKNOWN"
