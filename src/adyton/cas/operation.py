"""What the operator of a CAS does with it while it runs: have its keys exchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from adyton.base.auditchain import AuditEntry
from adyton.base.errors import InputError, UnavailableError
from adyton.cas.client import DEFAULT_REST_PORT, host_port
from adyton.cas.identity import SERVER_NAME
from adyton.cas.operator import OperatorFiles
from adyton.cas.tlsclient import TlsConnection, tcp, tls_context

ROTATE_PATH: Final = "/admin/rotate-keys"
_ROTATION_S: Final = 600.0  # every row is written anew before the answer


def rotate_keys(url: str, folder: Path) -> AuditEntry:
    """Have the CAS at ``url`` exchange its master key; gives the audit entry about it, without its text.

    Args:
        url: ``https://host[:port]`` of its REST port.
        folder: of the operator, with key, certificate and the verified root of the CAS.

    Raises:
        CasRefusedError: this client is not named in the CAS's ``admins``.
        UnavailableError: it cannot be reached, or the exchange did not end in order; a start of the CAS settles it.
        InputError: a file of the operator is missing.
    """
    files = OperatorFiles(folder)
    context = tls_context(_present(files.root))
    context.load_cert_chain(_present(files.certificate), _present(files.key))
    with TlsConnection(tcp(*host_port(url, DEFAULT_REST_PORT)), context, SERVER_NAME, _ROTATION_S) as connection:
        answer = connection.json("POST", ROTATE_PATH, b"")
    try:
        return AuditEntry(int(answer["entry"]), "", str(answer["hash"]))
    except (KeyError, TypeError, ValueError):
        raise UnavailableError("the CAS's answer cannot be understood", code="cas.answer") from None


def _present(path: Path) -> Path:
    if not path.exists():
        raise InputError(
            f"{path} is missing", code="cas.client.identity", hint="make a client key and verify the CAS first"
        )
    return path
