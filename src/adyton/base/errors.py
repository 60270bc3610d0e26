"""The root of every error that crosses a room's border.

An error says what failed, with which value, and what to do about it, and carries a stable dotted code
(``sms.secret.exists``) that machines and documents refer to. It is mapped once, at the edge, to HTTP or to a
command's output. A message never holds a secret.
"""

from __future__ import annotations


class AdytonError(Exception):
    """Base of all typed errors.

    Attributes:
        code: stable dotted identifier, ``room.subject.reason``.
        message: one line for a person: the step and the value.
        hint: one line: the remedy; empty when there is none to give.
    """

    code = "adyton.error"
    hint = ""

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        return self.message


class InputError(AdytonError):
    """A value given by the caller is malformed."""

    code = "input.invalid"


class NotFoundError(AdytonError):
    """A named thing does not exist."""

    code = "input.not_found"


class UnavailableError(AdytonError):
    """A service or resource that is needed does not answer; trying again may help."""

    code = "service.unavailable"
