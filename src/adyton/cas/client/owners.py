"""Owners of sessions: create, update, look at, and approve successors, by the key of a client certificate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote as url_quote

from adyton.base.errors import InputError
from adyton.cas.client.answers import SessionInfo, decode, read_line, read_page, read_session_info
from adyton.cas.client.tls import TlsConnection, host_port, tcp, tls_context
from adyton.cas.face.identity import SERVER_NAME

DEFAULT_REST_PORT: Final = 8081


class SessionClient:
    """Creates and reads sessions as one owner, whose identity is the key of its client certificate.

    Args:
        url: ``https://host[:port]`` of the REST endpoint.
        cert_file: PEM client certificate; read anew for each call, so a renewed one is taken up.
        key_file: PEM private key; may be the same file.
        ca_file: PEM root of the CAS, obtained by :func:`attest_cas` or from an attested service's configuration.
        timeout_s: seconds for connecting and for each read.
    """

    def __init__(self, url: str, cert_file: Path, key_file: Path, ca_file: Path, *, timeout_s: float = 20) -> None:
        self._connect = tcp(*host_port(url, DEFAULT_REST_PORT), timeout_s)
        self._cert_file = cert_file
        self._key_file = key_file
        self._ca_file = ca_file
        self._timeout_s = timeout_s

    def create(self, document: str | bytes) -> SessionInfo:
        """Post a session document (YAML); creating, or updating when it names its predecessor.

        Raises:
            CasRefusedError: the document or the caller is refused; the code says why.
            UnavailableError: the CAS cannot be reached or cannot answer now.
        """
        body = document.encode() if isinstance(document, str) else document
        with self._open() as connection:
            return read_session_info(connection.json("POST", "/session", body, "application/octet-stream"))

    def show(self, name: str) -> SessionInfo:
        """Read a session back, without the values of its secrets.

        Raises:
            CasRefusedError: unknown, or this owner may not read it.
            UnavailableError: the CAS cannot be reached or cannot answer now.
        """
        with self._open() as connection:
            return read_session_info(connection.json("GET", f"/session/{url_quote(name, safe='')}"))

    def approve(self, name: str, predecessor: str, successor: str, choice: str) -> Mapping[str, Any]:
        """Stand for a successor of a session's enclave (MRENCLAVEs, hex), ``carry`` or ``discard``; gives the line.

        Raises:
            CasRefusedError: this key is no approver, or the approval does not fit the line as it is.
            UnavailableError: the CAS cannot be reached or cannot answer now.
        """
        request = {"predecessor": predecessor, "successor": successor, "choice": choice}
        return self._line("POST", name, json.dumps(request).encode())

    def revoke(self, name: str) -> Mapping[str, Any]:
        """Take this key's standing approval back; raises as :meth:`approve`."""
        return self._line("DELETE", name, None)

    def _line(self, method: str, name: str, body: bytes | None) -> Mapping[str, Any]:
        with self._open() as connection:
            answer = connection.json(method, f"/v1/session/{url_quote(name, safe='')}/upgrade", body)
        line: Mapping[str, Any] = decode(read_line, answer)
        return line

    def list(self) -> Iterator[SessionInfo]:
        """The sessions that this owner created and may read, in no particular order.

        Raises:
            CasRefusedError: the caller is refused.
            UnavailableError: the CAS cannot be reached or cannot answer now.
        """
        after = ""
        with self._open() as connection:
            while True:
                entries, following = decode(read_page, connection.json("GET", f"/session?after={after}"))
                yield from entries
                if not following or following == after:
                    return
                after = following

    def _open(self) -> TlsConnection:
        try:
            context = tls_context(self._ca_file)
            context.load_cert_chain(self._cert_file, self._key_file)
        except OSError as error:
            raise InputError(
                f"cannot load the client certificate {self._cert_file}, its key or the root {self._ca_file}:"
                f" {error.strerror or error}",
                code="cas.client.identity",
            ) from error
        return TlsConnection(self._connect, context, SERVER_NAME, self._timeout_s)
