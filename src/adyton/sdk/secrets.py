"""Secrets in the SMS: dataset keys, app and requester secrets, result encryption keys."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adyton.base.secret import Secret
from adyton.base.types import Address
from adyton.sdk import assets
from adyton.sdk.errors import ClientError
from adyton.sdk.services import SMS, calling
from adyton.sdk.session import Session

if TYPE_CHECKING:
    from adyton.sms.client import SmsClient

RESULT_KEY_NAME: Final = "iexec-result-encryption-public-key"
DROPBOX_TOKEN_NAME: Final = "iexec-result-dropbox-token"  # noqa: S105  # a secret's name, not a secret
IPFS_TOKEN_NAME: Final = "iexec-result-iexec-ipfs-token"  # noqa: S105  # the same


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did."""

    is_pushed: bool
    is_updated: bool


@contextmanager
def sms(session: Session, framework: str | None) -> Iterator[SmsClient]:
    """The SMS of a framework, or of the chain's default; its failures come out with the official texts.

    Raises:
        ConfigurationError: not configured.
        ApiCallError: it does not answer.
    """
    from adyton.sms.client import SmsClient  # noqa: PLC0415  # pydantic: only where the SMS is really asked

    url = session.chain.sms_url(framework)
    client = SmsClient(url)
    try:
        with calling(SMS, url):
            yield client
    finally:
        client.close()


def app_framework(session: Session, app: Address, choice: str | None) -> str:
    """Which framework's SMS has an app's secret: the chosen one, else that of the app's enclave.

    Raises:
        ClientError: the app's enclave description cannot be read.
    """
    framework = choice or assets.framework_of(session, app)
    if framework is None:
        raise ClientError(
            f"Failed to detect TEE framework of app {app}",
            code="sdk.asset.framework",
            hint="choose one with --tee-framework",
        )
    return framework


def has_dataset_secret(session: Session, dataset: Address, framework: str | None = None) -> bool:
    """Whether a dataset's key is in the SMS."""
    with sms(session, framework) as client:
        return client.check_web3(dataset)


def push_dataset_secret(session: Session, dataset: Address, value: Secret[str], framework: str | None = None) -> None:
    """Put a dataset's key into the SMS, for ever.

    Raises:
        NotAllowedError: the wallet does not own the dataset.
        SecretExistsError: it is there already.
    """
    with sms(session, framework) as client:
        client.push_web3(dataset, value, session.wallet)


def has_app_secret(session: Session, app: Address, framework: str) -> bool:
    """Whether an app's developer secret is in the SMS."""
    with sms(session, framework) as client:
        return client.check_app(app)


def push_app_secret(session: Session, app: Address, value: Secret[str], framework: str) -> None:
    """Put an app's developer secret into the SMS, for ever; errors as :func:`push_dataset_secret`."""
    with sms(session, framework) as client:
        client.push_app(app, value, session.wallet)


def has_requester_secret(session: Session, requester: Address, name: str, framework: str | None = None) -> bool:
    """Whether a requester has a secret of that name in the SMS."""
    with sms(session, framework) as client:
        return client.check_requester(requester, name)


def push_requester_secret(session: Session, name: str, value: Secret[str], framework: str | None = None) -> None:
    """Put a named secret of the wallet into the SMS, for ever; errors as :func:`push_dataset_secret`."""
    with sms(session, framework) as client:
        client.push_requester(name, value, session.wallet)


def has_web2_secret(session: Session, address: Address, name: str, framework: str | None = None) -> bool:
    """Whether an account has a web2 secret of that name in the SMS."""
    with sms(session, framework) as client:
        return client.check_web2(address, name)


def push_web2_secret(
    session: Session, name: str, value: Secret[str], *, force_update: bool, framework: str | None = None
) -> Pushed:
    """Put a web2 secret of the wallet into the SMS.

    Raises:
        SecretExistsError: it is there and ``force_update`` is off.
    """
    with sms(session, framework) as client:
        updated = client.push_web2(name, value, session.wallet, force_update=force_update)
    return Pushed(is_pushed=True, is_updated=updated)


def push_result_key(session: Session, pem: bytes, *, force_update: bool, framework: str | None = None) -> Pushed:
    """Publish the key under which the wallet's results are encrypted: base64 of the PEM file's bytes."""
    value = Secret(base64.b64encode(pem).decode())
    return push_web2_secret(session, RESULT_KEY_NAME, value, force_update=force_update, framework=framework)
