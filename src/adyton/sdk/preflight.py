"""Checks before an order is signed or matched: would the task that comes of it be able to run (section 5.1)?

Each check raises with the reason in the official words, so that scripts and people can tell an order that is wrong
from one that was refused for another cause; ``--skip-preflight-check`` leaves them out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from adyton.base.errors import InputError
from adyton.base.types import ZERO_ADDRESS, Address, Bytes32
from adyton.chain import params as request_params
from adyton.chain import tags
from adyton.chain.orders import AppOrder, DatasetOrder, Order, RequestOrder
from adyton.sdk import assets, secrets
from adyton.sdk.errors import ClientError
from adyton.sdk.session import Session

_HINT: Final = " (If you consider this is not an issue, use --skip-preflight-check to skip preflight requirement check)"


class RequirementError(ClientError):
    """Something that the task will need is missing."""

    code = "sdk.preflight"


def check(session: Session, order: Order, tag: Bytes32 | None = None) -> None:
    """Check an order's requirements; a workerpool order has none.

    Args:
        session: the chain and its SMS.
        order: what is about to be signed, published or matched.
        tag: the tag of the deal that it will be part of; the order's own when None.

    Raises:
        RequirementError: a requirement is not met.
        ApiCallError: the SMS does not answer.
    """
    if isinstance(order, AppOrder):
        with _about("App"):
            check_app(session, order.app, tag or order.tag)
    elif isinstance(order, DatasetOrder):
        with _about("Dataset"):
            check_dataset(session, order.dataset, tag or order.tag)
    elif isinstance(order, RequestOrder):
        with _about("Request"):
            check_request(session, order, tag or order.tag)


def framework_in(tag: Bytes32) -> str | None:
    """The framework of a tag in lower case, looked for in the official order; None for a tag without one."""
    names = tags.decode(tag)
    return next((name for name in ("scone", "tdx", "gramine") if name in names), None)


def check_app(session: Session, app: Address, tag: Bytes32) -> None:
    """The app's enclave must be of the tag's framework; a plain app runs untagged and on TDX.

    Raises:
        RequirementError: it is not.
    """
    of_app, of_tag = assets.framework_of(session, app), framework_in(tag)
    if of_app != of_tag and not (of_tag is None and of_app == "tdx"):
        raise RequirementError("Tag mismatch the TEE framework specified by app")


def check_dataset(session: Session, dataset: Address, tag: Bytes32) -> None:
    """A dataset that goes into enclaves must have its key in the SMS.

    Raises:
        RequirementError: it has not.
    """
    if tags.is_tee(tag) and not secrets.has_dataset_secret(session, dataset, framework_in(tag)):
        raise RequirementError(
            f"Dataset encryption key is not set for dataset {dataset} in the SMS. Dataset decryption will fail."
        )


def check_request(session: Session, order: RequestOrder, tag: Bytes32) -> None:
    """All that the request's params name must be in the SMS.

    Raises:
        RequirementError: unknown or malformed params, or a missing secret.
    """
    params = _params(order)
    framework = framework_in(tag)
    if params.get("iexec_result_encryption") is True:
        _need(
            secrets.has_web2_secret(session, order.beneficiary, secrets.RESULT_KEY_NAME, framework),
            f"Encryption key is not set for beneficiary {order.beneficiary} in the SMS. "
            "The result cannot be encrypted.",
        )
    if params.get("iexec_result_storage_provider") == "dropbox":
        _need(
            secrets.has_web2_secret(session, order.requester, secrets.DROPBOX_TOKEN_NAME, framework),
            f"Storage token is not set for requester {order.requester} in the SMS. The result cannot be stored.",
        )
    if order.dataset != ZERO_ADDRESS:
        check_dataset(session, order.dataset, tag)
    for name in dict(params.get("iexec_secrets") or {}).values():
        _need(
            secrets.has_requester_secret(session, order.requester, name, framework),
            f'Requester secret "{name}" is not set for requester {order.requester} in the SMS.',
        )


def _params(order: RequestOrder) -> dict[str, Any]:
    """The params of an order that exists: checked as they stand, nothing is cast or added.

    Raises:
        RequirementError: an unknown key or a malformed value.
    """
    try:
        params = request_params.normalise(order.params, tag=order.tag, callback=order.callback, strict=True)
    except InputError as error:
        raise RequirementError(error.message) from error
    return dict(json.loads(params))


def _need(met: bool, message: str) -> None:
    if not met:
        raise RequirementError(message)


@contextmanager
def _about(subject: str) -> Iterator[None]:
    try:
        yield
    except RequirementError as error:
        raise RequirementError(f"{subject} requirements check failed: {error.message}{_HINT}") from error
