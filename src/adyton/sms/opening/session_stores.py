"""Where sessions are stored: a CAS, or for trust domains a session storage; always as an authenticated client."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final, Protocol

from adyton.base.errors import AdytonError
from adyton.base.secret import Secret
from adyton.cas.client.kept import KeptSessionClient
from adyton.cas.client.owners import DEFAULT_REST_PORT
from adyton.cas.client.tls import host_port, tcp
from adyton.web.client import HttpClient

_TIMEOUT_S: Final = 10.0
_ACCEPTED: Final = tuple(range(200, 300))  # officially any success counts for a session storage


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
        identity_file: PEM with this service's certificate and key; renewed on disk while the service runs, and
            taken up with the next session.
        ca_file: PEM of the CAS's own certificate authority, against which its server certificate is verified.
    """

    def __init__(self, url: str, identity_file: Path, ca_file: Path) -> None:
        connect = tcp(*host_port(url, DEFAULT_REST_PORT))
        self._client = KeptSessionClient(connect, identity_file, identity_file, ca_file)

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


class TdxSessionStore:
    """A session storage for trust domains (protocol, section 5.5). Its certificate is verified, unlike officially.

    Args:
        url: ``tee.secret-provisioner.post-url``.
        identity_file: PEM with this service's certificate and key; shown where it exists, read for each session.
        ca_file: PEM of the authority of the storage's certificate; without that file, the system's authorities.
    """

    def __init__(self, url: str, identity_file: Path, ca_file: Path) -> None:
        self._url = url
        self._identity_file = identity_file
        self._ca_file = ca_file

    def create(self, document: Secret[str]) -> None:
        """Post the document.

        Raises:
            SessionStoreError: the storage refuses it or does not answer.
        """
        try:
            client = HttpClient(self._url, "session storage", timeout_s=_TIMEOUT_S, verify=self._context())
        except (OSError, ssl.SSLError) as error:
            raise SessionStoreError(f"the certificates cannot be read: {type(error).__name__}") from error
        try:
            client.request(
                "POST",
                "/session",
                expect=_ACCEPTED,
                content=document.reveal().encode(),
                headers={"Content-Type": "application/json"},
            )
        except AdytonError as error:
            # Only the code: a refusal may quote an element of the document.
            raise SessionStoreError(f"the storage did not store the session: {error.code}") from None
        finally:
            client.close()

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._ca_file) if self._ca_file.is_file() else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._identity_file.is_file():
            context.load_cert_chain(self._identity_file)
        return context
