"""How a step of a task fails: with an official cause, and what else the report carries."""

from __future__ import annotations

from adyton.base.errors import AdytonError
from adyton.workerpool.causes import Cause
from adyton.workerpool.wire import StatusDetails


class StepError(AdytonError):
    """A step failed.

    Attributes:
        cause: official cause that is reported.
        details: exit code, logs and the like that go with the report.
    """

    code = "worker.step"

    def __init__(self, cause: Cause, message: str, details: StatusDetails | None = None) -> None:
        super().__init__(f"{cause.value}: {message}")
        self.cause = cause
        self.details = details or StatusDetails()

    def report(self) -> StatusDetails:
        """What to report."""
        return self.details.model_copy(update={"cause": self.cause, "error_message": self.message[:2000]})
