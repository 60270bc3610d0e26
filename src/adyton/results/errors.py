"""Refusals of the results service; each has one HTTP status."""

from __future__ import annotations

from adyton.base.errors import AdytonError


class UnauthorizedError(AdytonError):
    """The caller did not prove that it may do this (401)."""

    code = "results.unauthorized"


class ResultRefusedError(AdytonError):
    """The result is not one that the chain waits for from this uploader (400)."""

    code = "results.refused"


class TooLargeError(AdytonError):
    """The request's body is over the limit of its route (413)."""

    code = "results.too_large"
