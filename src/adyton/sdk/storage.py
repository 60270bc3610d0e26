"""Result storage: the tokens that let the post-compute enclave upload in the requester's or worker's name."""

from __future__ import annotations

from typing import Final

from adyton.base.secret import Secret
from adyton.base.types import Address
from adyton.sdk import secrets
from adyton.sdk.errors import ClientError
from adyton.sdk.services import RESULT_PROXY, calling
from adyton.sdk.session import Session

DEFAULT: Final = "default"

_SECRET_NAMES: Final = {
    DEFAULT: secrets.IPFS_TOKEN_NAME,
    "ipfs": secrets.IPFS_TOKEN_NAME,
    "dropbox": secrets.DROPBOX_TOKEN_NAME,
}


def secret_name(provider: str) -> str:
    """The web2 secret that holds a provider's token.

    Raises:
        ClientError: no such provider.
    """
    if provider not in _SECRET_NAMES:
        raise ClientError(f'"{provider}" not supported', code="sdk.storage.provider", hint="ipfs or dropbox")
    return _SECRET_NAMES[provider]


def login(session: Session) -> Secret[str]:
    """A token of the chain's result proxy, for the session's wallet.

    Raises:
        ClientError: no result proxy is configured, or it refuses.
        ApiCallError: it does not answer.
    """
    from adyton.results.client import ResultProxyClient  # noqa: PLC0415  # only for a login

    url = session.chain.url("resultProxy")
    client = ResultProxyClient(url)
    try:
        with calling(RESULT_PROXY, url):
            return client.login(session.wallet, session.chain.chain_id)
    finally:
        client.close()


def is_initialized(session: Session, owner: Address, provider: str, framework: str | None) -> bool:
    """Whether an account has a token for a provider in the SMS."""
    return secrets.has_web2_secret(session, owner, secret_name(provider), framework)


def push(
    session: Session,
    provider: str,
    token: Secret[str],
    *,
    force_update: bool,
    framework: str | None,
    tell: secrets.Tell,
) -> secrets.Pushed:
    """Put the wallet's token for a provider into the SMS; ``tell`` as in :mod:`adyton.sdk.secrets`.

    Raises:
        SecretExistsError: it is there and ``force_update`` is off.
        SmsRefusedError: the SMS is not the enclave that the chain names.
    """
    return secrets.push_web2_secret(
        session, secret_name(provider), token, force_update=force_update, framework=framework, tell=tell
    )
