"""Refusals of the market: one class per HTTP status, the text is the official one (market reference, section 11)."""

from __future__ import annotations

from typing import ClassVar

from adyton.base.errors import AdytonError


class MarketError(AdytonError):
    """Base: answered as ``{"ok": false, "error": <message>}``."""

    status: ClassVar[int] = 500


class ValidationError(MarketError):
    """A query, path or body that breaks a rule."""

    code = "market.validation"
    status = 400


class BusinessError(MarketError):
    """A well-formed request that the state of chain and book forbids."""

    code = "market.business"
    status = 403


class AuthorizationError(MarketError):
    """No valid login; the reason is logged, never sent."""

    code = "market.authorization"
    status = 403

    def __init__(self) -> None:
        super().__init__("invalid authorization")


class MissingError(MarketError):
    """No document under that id."""

    code = "market.missing"
    status = 404


class ChainError(MarketError):
    """The chain could not be asked."""

    code = "market.chain"

    def __init__(self) -> None:
        super().__init__("Something went wrong, you should retry later.")
