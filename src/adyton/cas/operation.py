"""What the operator of a CAS does with it while it runs: have its keys exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adyton.base.errors import InputError, UnavailableError
from adyton.cas.client.operator import OperatorFiles
from adyton.cas.client.owners import DEFAULT_REST_PORT
from adyton.cas.client.tls import TlsConnection, host_port, tcp, tls_context
from adyton.cas.face.identity import SERVER_NAME

ROTATE_PATH: Final = "/admin/rotate-keys"
_ROTATION_S: Final = 600.0  # every row is written anew before the answer


@dataclass(frozen=True, slots=True)
class Rotation:
    """An exchange of a CAS's keys.

    Attributes:
        seq, hash: of the audit entry about it.
        authority: fingerprint of the new authority's root, as the CAS says;
            :func:`adyton.cas.client.proof.attest_cas` proves it.
    """

    seq: int
    hash: str
    authority: str


def rotate_keys(url: str, folder: Path) -> Rotation:
    """Have the CAS at ``url`` exchange its master key and its authority.

    The root in ``folder`` stays the one that it is; verify the CAS again to keep the new one.

    Args:
        url: ``https://host[:port]`` of its REST port.
        folder: of the operator, with key, certificate and the verified root of the CAS.

    Raises:
        CasRefusedError: this client is not named in the CAS's ``admins``.
        UnavailableError: it cannot be reached, or the exchange did not end in order; a start of the CAS settles it.
        InputError: a file of the operator is missing or damaged.
    """
    files = OperatorFiles(folder)
    key, certificate, root = _present(files.key), _present(files.certificate), _present(files.root)
    try:
        context = tls_context(root)
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise InputError(
            f"a file of the operator in {folder} cannot be used: {error.strerror or error}",
            code="cas.client.identity",
            hint="put key, certificate and root back, or verify the CAS again",
        ) from error
    with TlsConnection(tcp(*host_port(url, DEFAULT_REST_PORT)), context, SERVER_NAME, _ROTATION_S) as connection:
        answer = connection.json("POST", ROTATE_PATH, b"")
    try:
        return Rotation(int(answer["entry"]), str(answer["hash"]), str(answer["authority"]))
    except (KeyError, TypeError, ValueError):
        raise UnavailableError("the CAS's answer cannot be understood", code="cas.answer") from None


def _present(path: Path) -> Path:
    if not path.exists():
        raise InputError(
            f"{path} is missing", code="cas.client.identity", hint="make a client key and verify the CAS first"
        )
    return path
