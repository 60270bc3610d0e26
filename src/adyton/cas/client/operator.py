"""What a person does with a CAS: make a key, verify the CAS once, check, create and show sessions, read the audit log.

The ``adyton cas`` commands are these functions with printing around them. The way in: :func:`make_identity`, then
:func:`trust_cas`, which writes the CAS's root only after its evidence was verified, then :func:`open_client`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from adyton.base.clock import Clock, utc_now
from adyton.base.errors import InputError
from adyton.base.files import write_atomic, write_private
from adyton.cas.client.owners import DEFAULT_REST_PORT, SessionClient
from adyton.cas.client.proof import AttestedCas, attest_cas
from adyton.cas.client.tls import host_port, tcp
from adyton.cas.face.identity import spki_of

if TYPE_CHECKING:
    from adyton.attestation.policy import QuotePolicy
    from adyton.cas.language.session import Session
    from adyton.cas.store.audit import AuditEntry

_IDENTITY_DAYS: Final = 5 * 365  # servers look at the key only; the dates are for people


@dataclass(frozen=True, slots=True)
class OperatorFiles:
    """Where an owner of sessions keeps key, certificate and the root of the verified CAS."""

    folder: Path

    @property
    def key(self) -> Path:
        """Private key, PEM."""
        return self.folder / "cas-client.key"

    @property
    def certificate(self) -> Path:
        """Self-signed client certificate, PEM."""
        return self.folder / "cas-client.pem"

    @property
    def root(self) -> Path:
        """Root of the CAS, PEM; written by :func:`trust_cas`."""
        return self.folder / "cas-ca.pem"


def make_identity(folder: Path, *, clock: Clock = utc_now) -> str:
    """The key hash of the owner in ``folder``; makes key and certificate where there are none.

    Raises:
        InputError: only one of the two files is there.
    """
    files = OperatorFiles(folder)
    if files.key.exists() != files.certificate.exists():
        raise InputError(
            f"of {files.key.name} and {files.certificate.name} in {folder} only one is there",
            code="cas.client.identity",
            hint="put the other back; a new key would be another owner and lose access to its sessions",
        )
    if not files.key.exists():
        _create_identity(files, clock())
    return key_hash(files.certificate)


def key_hash(certificate: Path) -> str:
    """What access policies call the owner of a client certificate: SHA-256 of its public key (SPKI), hex.

    Raises:
        InputError: the file is not a PEM certificate.
    """
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{certificate} is not a PEM certificate", code="cas.client.identity") from error
    return hashlib.sha256(spki_of(loaded.public_bytes(Encoding.DER))).hexdigest()


def cas_policy(anchor: str, mrenclaves: Iterable[str], *, tolerate: Iterable[str] = ()) -> QuotePolicy:
    """Who may be the CAS.

    Args:
        anchor: ``intel`` or ``sim:<fingerprint>``.
        mrenclaves: accepted measurements of the CAS, hex.
        tolerate: accepted weaknesses, for example ``debug-mode`` in development.

    Raises:
        InputError: a malformed value, or no measurement.
    """
    from adyton.attestation.anchors import TrustAnchor  # noqa: PLC0415  # commands that verify nothing start faster
    from adyton.attestation.policy import QuotePolicy, parse_tolerate  # noqa: PLC0415

    try:
        measurements = frozenset(bytes.fromhex(text) for text in mrenclaves)
    except ValueError:
        raise InputError("a measurement is 64 hex digits", code="cas.client.measurement") from None
    return QuotePolicy(anchors=(TrustAnchor(anchor),), mrenclaves=measurements, tolerate=parse_tolerate(tolerate))


def trust_cas(url: str, folder: Path, policy: QuotePolicy, *, clock: Clock = utc_now) -> AttestedCas:
    """Verify the CAS at ``url`` (``https://host[:port]``, its REST port) and keep its root in ``folder``.

    Raises:
        CasIdentityError, AttestationError: it is not a CAS that the policy accepts; nothing is written.
        UnavailableError: it cannot be reached.
    """
    host, port = host_port(url, DEFAULT_REST_PORT)
    attested = attest_cas(tcp(host, port), policy, clock=clock)
    write_atomic(OperatorFiles(folder).root, attested.authority_pem.encode())
    return attested


def open_client(url: str, folder: Path) -> SessionClient:
    """A client for the CAS that :func:`trust_cas` verified, as the owner that :func:`make_identity` made.

    Raises:
        InputError: one of the two has not been done.
    """
    files = OperatorFiles(folder)
    for path, step in ((files.certificate, "make a client key"), (files.root, "verify the CAS")):
        if not path.exists():
            raise InputError(f"{path} is missing", code="cas.client.identity", hint=f"{step} first")
    return SessionClient(url, files.certificate, files.key, files.root)


def enter(url: str, folder: Path, policy: QuotePolicy, *, clock: Clock = utc_now) -> tuple[SessionClient, AttestedCas]:
    """Verify the CAS at ``url``, and be its client as the owner in ``folder``, who is made where there is none.

    The root is kept under a name of its own for each CAS, so that commands for several do not meet.

    Raises:
        CasIdentityError, AttestationError: it is not a CAS that the policy accepts; no session was named to it.
        UnavailableError: it cannot be reached.
        InputError: half of the owner's identity is missing.
    """
    attested = attest_cas(tcp(*host_port(url, DEFAULT_REST_PORT)), policy, clock=clock)
    make_identity(folder, clock=clock)
    files = OperatorFiles(folder)
    root = folder / f"cas-ca-{attested.authority_sha256[:16]}.pem"
    write_atomic(root, attested.authority_pem.encode())
    return SessionClient(url, files.certificate, files.key, root), attested


def with_predecessor(document: bytes, predecessor: str) -> bytes:
    """The document as an update of the version that has the hash ``predecessor``, in JSON.

    What it names itself is replaced: in a document that was shown, that is the version before the shown one.

    Raises:
        YamlError: not in the accepted subset of YAML.
        InputError: it is no mapping.
    """
    from adyton.cas.language.yamltree import load_tree  # noqa: PLC0415  # as in check_session

    tree = load_tree(document)
    if not isinstance(tree, dict):
        raise InputError("the session document is not a mapping", code="cas.session.invalid")
    return json.dumps({**tree, "predecessor": predecessor}, ensure_ascii=False).encode()


def check_session(document: bytes) -> Session:
    """Check a session document as the CAS would, without a CAS.

    Raises:
        SessionError, YamlError: where and why the CAS would refuse it.
    """
    from adyton.cas.language.session import parse_session  # noqa: PLC0415  # the only commands that need the language
    from adyton.cas.language.templates import check_templates  # noqa: PLC0415

    session = parse_session(document)
    check_templates(session)
    return session


def verify_audit(database_folder: Path) -> AuditEntry | None:
    """Check the chain of a CAS's audit log from outside; returns its last entry.

    Compare its ``seq`` and ``hash`` with an earlier run's: a log that was cut or replaced as a whole has a valid chain
    too, and only the CAS itself (at each start) and who remembers an entry can tell.

    Raises:
        InputError: there is no database.
        AuditBrokenError: naming the first entry that is not the one written.
    """
    from adyton.base.db import open_engine  # noqa: PLC0415  # the only command that needs a database
    from adyton.cas.store.audit import read_entries, verify_chain  # noqa: PLC0415
    from adyton.cas.store.sealed import StateFiles  # noqa: PLC0415

    path = StateFiles(database_folder).database
    if not path.exists():
        raise InputError(f"{path} does not exist", code="cas.audit.absent")
    engine = open_engine(path)
    try:
        return verify_chain(read_entries(engine))
    finally:
        engine.dispose()


def _create_identity(files: OperatorFiles, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Adyton session owner")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=_IDENTITY_DAYS))
        .sign(key, SHA256())
    )
    write_private(files.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    write_atomic(files.certificate, certificate.public_bytes(Encoding.PEM))
