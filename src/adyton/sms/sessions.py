"""Where sessions are stored: the CAS, as its mutually authenticated client."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from adyton.base.errors import AdytonError
from adyton.base.secret import Secret
from adyton.cas.client import SessionClient


class SessionStoreError(AdytonError):
    """The session was not stored."""

    code = "sms.session.store"


class SessionStore(Protocol):
    """Takes session documents."""

    def create(self, document: Secret[str]) -> None:
        """Store a new session.

        Raises:
            SessionStoreError: it was not accepted; the message holds nothing of the document.
        """


class CasSessionStore:
    """A CAS.

    Args:
        url: its REST endpoint.
        identity_file: PEM with this service's certificate and key; renewed on disk while the service runs, so it is
            read for each session.
        ca_file: PEM of the CAS's own certificate authority, against which its server certificate is verified.
    """

    def __init__(self, url: str, identity_file: Path, ca_file: Path) -> None:
        self._client = SessionClient(url, identity_file, identity_file, ca_file)

    def create(self, document: Secret[str]) -> None:
        """Post the document.

        Raises:
            SessionStoreError: the CAS refuses it or does not answer.
        """
        try:
            self._client.create(document.reveal())
        except AdytonError as error:
            # Only the code: a refusal may quote an element of the document.
            raise SessionStoreError(f"the CAS did not store the session: {error.code}") from None
