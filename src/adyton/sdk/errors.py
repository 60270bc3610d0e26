"""Errors of the client side, each with the class name that official clients show for it in their output."""

from __future__ import annotations

from adyton.base.errors import AdytonError, InputError, NotFoundError, UnavailableError


class ClientError(AdytonError):
    """An operation of the client failed.

    Attributes:
        name: the official class name of the failure.
    """

    code = "sdk.failed"
    name = "Error"


class ValidationError(InputError):
    """A value that the user gave, or that a project file holds, is malformed."""

    code = "sdk.input"
    name = "ValidationError"


class ConfigurationError(ClientError):
    """The chain's configuration lacks what the operation needs, or its network does not offer it."""

    code = "sdk.configuration"
    name = "ConfigurationError"


class AbortedError(ClientError):
    """The user said no."""

    code = "sdk.aborted"

    def __init__(self) -> None:
        super().__init__("Operation aborted by user.")


class PromptClosedError(ClientError):
    """A question could not be asked: standard input is closed."""

    code = "sdk.prompt_closed"
    name = "ExitPromptError"
    hint = "answer with an option (--force, --password), or run in a terminal"

    def __init__(self) -> None:
        super().__init__("User force closed the prompt with 0 null")


class ObjectNotFoundError(NotFoundError):
    """A thing that should be on the chain is not."""

    code = "sdk.not_found"
    name = "ObjectNotFoundError"

    def __init__(self, kind: str, identifier: str, chain_id: int) -> None:
        super().__init__(f"No {kind} found for id {identifier} on chain {chain_id}")


class ApiCallError(UnavailableError):
    """A service did not answer as it should: no connection, or a fault of its own.

    Attributes:
        name: the official class name for this service.
    """

    code = "sdk.service"

    def __init__(self, name: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.name = name


class NodeError(ClientError):
    """The chain's node refused a call or a transaction, or does not answer.

    Attributes:
        name: ``Web3ProviderCallError`` for reads, ``Web3ProviderSendError`` for transactions.
    """

    code = "sdk.node"

    def __init__(self, message: str, *, name: str = "Web3ProviderCallError", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.name = name
