"""Secrets in the SMS: dataset keys, app and requester secrets, result encryption keys.

Where ``chain.json`` says which enclave the SMS must be, a secret goes out only to that enclave, over a connection whose
key it proved to hold: :func:`pushing` attests first, and nothing is sent anywhere else if the verdict is not good.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.secret import Secret
from adyton.base.types import Address
from adyton.sdk import assets
from adyton.sdk.errors import ClientError
from adyton.sdk.services import SMS, calling
from adyton.sdk.session import Session

if TYPE_CHECKING:
    from adyton.attestation.collateral.documents import Collateral, PlatformId
    from adyton.sdk.smsentry import ExpectedSms
    from adyton.sms.attest import AttestedSms
    from adyton.sms.client import SmsClient

RESULT_KEY_NAME: Final = "iexec-result-encryption-public-key"
DROPBOX_TOKEN_NAME: Final = "iexec-result-dropbox-token"  # noqa: S105  # a secret's name, not a secret
IPFS_TOKEN_NAME: Final = "iexec-result-iexec-ipfs-token"  # noqa: S105  # the same


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did."""

    is_pushed: bool
    is_updated: bool


class SmsRefusedError(ClientError):
    """The SMS is not the enclave that the chain names; nothing was sent to it."""

    code = "sdk.sms.refused"


@dataclass(frozen=True, slots=True)
class Channel:
    """Where a secret is about to go.

    Attributes:
        url: of the SMS.
        attested: what it proved to be; None: the chain does not say what it must be.
        readable: whether others on the way can read along.
    """

    url: str
    attested: AttestedSms | None
    readable: bool


Tell = Callable[[Channel], None]
"""Is told where a secret is about to go, once that is decided; may raise to stop it."""


def _untold(_channel: Channel) -> None:
    """Nobody wants to know."""


@contextmanager
def pushing(session: Session, framework: str | None, tell: Tell = _untold) -> Iterator[SmsClient]:
    """The SMS to push secrets to: attested first, where the chain says which enclave it must be.

    Raises:
        ConfigurationError: not configured, or what the chain says of it cannot be understood.
        SmsRefusedError: it is not the enclave that the chain names; its code is the failed check's.
        ApiCallError: it does not answer.
    """
    entry = session.chain.sms_entry(framework)
    if entry.expected is None:
        tell(Channel(entry.url, None, entry.readable))
        with _unproven(entry.url) as client:
            yield client
        return
    from adyton.sms.client import SmsClient  # noqa: PLC0415  # as in _unproven

    with calling(SMS, entry.expected.url):
        attested = _attest(entry.expected)
        tell(Channel(attested.url, attested, readable=False))
        client = SmsClient(attested.url, tls=attested.context())
        try:
            yield client
        finally:
            client.close()


def _attest(expected: ExpectedSms) -> AttestedSms:
    from adyton.sms.attest import attest_sms  # noqa: PLC0415  # verification: only where something is expected

    policy = expected.policy()  # what the chain says itself is wrong is no refusal of the SMS
    try:
        return attest_sms(expected.url, policy, fetch=None if expected.pccs is None else _fetching(expected.pccs))
    except UnavailableError:
        raise
    except AdytonError as error:
        raise SmsRefusedError(
            f"the SMS at {expected.url} is not the one that chain.json names, so nothing was sent to it:"
            f" {error.message}; expected: {expected.describe()} ({error.code})",
            code=error.code,
            hint=f"if its operator announced a new release, check that and change the SMS's entry in chain.json;"
            f" 'adyton sms attest {expected.url}' shows every check",
        ) from error


def _fetching(pccs: str) -> Callable[[PlatformId], Collateral]:
    def fetch(platform: PlatformId) -> Collateral:
        from adyton.attestation.collateral.pccs import PccsClient  # noqa: PLC0415  # few chains name one

        client = PccsClient(pccs)
        try:
            return client.fetch(platform.fmspc, platform.ca, platform.kind)
        finally:
            client.close()

    return fetch


@contextmanager
def sms(session: Session, framework: str | None) -> Iterator[SmsClient]:
    """The SMS of a framework, or of the chain's default, to ask; its failures come out with the official texts.

    What is asked here is no secret, so it is asked at the URL that the official client uses, unproven; but where that
    is the address that proves itself, it has to.

    Raises:
        ConfigurationError: not configured.
        SmsRefusedError: as :func:`pushing`.
        ApiCallError: it does not answer.
    """
    entry = session.chain.sms_entry(framework)
    if entry.expected is not None and entry.expected.url == entry.url.rstrip("/"):
        opened = pushing(session, framework)
    else:
        opened = _unproven(entry.url)
    with opened as client:
        yield client


@contextmanager
def _unproven(url: str) -> Iterator[SmsClient]:
    from adyton.sms.client import SmsClient  # noqa: PLC0415  # pydantic: only where the SMS is really asked

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


def push_dataset_secret(
    session: Session, dataset: Address, value: Secret[str], framework: str | None = None, *, tell: Tell = _untold
) -> None:
    """Put a dataset's key into the SMS, for ever.

    Raises:
        NotAllowedError: the wallet does not own the dataset.
        SecretExistsError: it is there already.
        SmsRefusedError: the SMS is not the enclave that the chain names.
    """
    with pushing(session, framework, tell) as client:
        client.push_web3(dataset, value, session.wallet)


def has_app_secret(session: Session, app: Address, framework: str) -> bool:
    """Whether an app's developer secret is in the SMS."""
    with sms(session, framework) as client:
        return client.check_app(app)


def push_app_secret(
    session: Session, app: Address, value: Secret[str], framework: str, *, tell: Tell = _untold
) -> None:
    """Put an app's developer secret into the SMS, for ever; errors as :func:`push_dataset_secret`."""
    with pushing(session, framework, tell) as client:
        client.push_app(app, value, session.wallet)


def has_requester_secret(session: Session, requester: Address, name: str, framework: str | None = None) -> bool:
    """Whether a requester has a secret of that name in the SMS."""
    with sms(session, framework) as client:
        return client.check_requester(requester, name)


def push_requester_secret(
    session: Session, name: str, value: Secret[str], framework: str | None = None, *, tell: Tell = _untold
) -> None:
    """Put a named secret of the wallet into the SMS, for ever; errors as :func:`push_dataset_secret`."""
    with pushing(session, framework, tell) as client:
        client.push_requester(name, value, session.wallet)


def has_web2_secret(session: Session, address: Address, name: str, framework: str | None = None) -> bool:
    """Whether an account has a web2 secret of that name in the SMS."""
    with sms(session, framework) as client:
        return client.check_web2(address, name)


def push_web2_secret(
    session: Session,
    name: str,
    value: Secret[str],
    *,
    force_update: bool,
    framework: str | None = None,
    tell: Tell = _untold,
) -> Pushed:
    """Put a web2 secret of the wallet into the SMS.

    Raises:
        SecretExistsError: it is there and ``force_update`` is off.
        SmsRefusedError: the SMS is not the enclave that the chain names.
    """
    with pushing(session, framework, tell) as client:
        updated = client.push_web2(name, value, session.wallet, force_update=force_update)
    return Pushed(is_pushed=True, is_updated=updated)


def push_result_key(
    session: Session, pem: bytes, *, force_update: bool, framework: str | None = None, tell: Tell = _untold
) -> Pushed:
    """Publish the key under which the wallet's results are encrypted: base64 of the PEM file's bytes."""
    value = Secret(base64.b64encode(pem).decode())
    return push_web2_secret(session, RESULT_KEY_NAME, value, force_update=force_update, framework=framework, tell=tell)
