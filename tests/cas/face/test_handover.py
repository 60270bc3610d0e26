"""Who keeps the root of an authority that was exchanged: gets across by the right chain, and by nothing looser."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import socketpair

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

from adyton.base.errors import UnavailableError
from adyton.cas.client.tls import TlsConnection, tls_context
from adyton.cas.face.authority import Authority, Handover
from adyton.cas.face.handover import HANDOVER_DAYS, MAX_HANDOVERS, check_chain, verified_chain
from adyton.cas.face.identity import SERVER_NAME, CasIdentityError
from adyton.web.peercert import server_context

NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW - timedelta(days=400)
OLD = Authority.create(START)
NEW = OLD.succeed(NOW - timedelta(days=1))
STRANGER = Authority.create(START)
AS_AUTHORITY = x509.BasicConstraints(ca=True, path_length=0)


def connect(authority: Authority, kept: x509.Certificate, folder: Path, *, issued: datetime = NOW) -> list[bytes]:
    """The chain that a client with the root ``kept`` verifies of a CAS under ``authority``; or why it does not."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate, *crosses = x509.load_pem_x509_certificates(authority.issue_server(key.public_key(), (), issued))
    root = folder / "root.pem"
    root.write_bytes(kept.public_bytes(Encoding.PEM))
    ours, theirs = socketpair()

    def serve() -> None:
        connection = SSL.Connection(server_context(certificate, key, crosses), theirs)
        connection.set_accept_state()
        with contextlib.suppress(SSL.Error):
            connection.do_handshake()
        theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with TlsConnection(lambda: ours, tls_context(root), SERVER_NAME, 5) as connection:
            return verified_chain(connection._socket)  # what the client itself judges
    finally:
        ours.close()
        thread.join(10)


def refused(authority: Authority, kept: x509.Certificate, folder: Path, *, issued: datetime = NOW) -> str:
    with pytest.raises(CasIdentityError) as caught:
        connect(authority, kept, folder, issued=issued)
    assert "adyton cas attest" in (caught.value.hint or "")
    return caught.value.code


# what holds


def test_the_root_that_was_kept_goes_on(tmp_path: Path) -> None:
    assert len(connect(NEW, OLD.root, tmp_path)) == 3
    assert connect(NEW, OLD.root, tmp_path)[1:] == [der(NEW.handovers[0].cross), OLD.root_der]


def test_the_new_root_needs_no_cross_certificate(tmp_path: Path) -> None:
    assert len(connect(NEW, NEW.root, tmp_path)) == 2
    assert len(connect(OLD, OLD.root, tmp_path)) == 2


def test_several_exchanges_make_a_chain(tmp_path: Path) -> None:
    newest = NEW
    for _ in range(3):
        newest = newest.succeed(NOW)
    assert len(connect(newest, OLD.root, tmp_path)) == 6
    assert len(connect(newest, NEW.root, tmp_path)) == 5


def test_as_many_as_are_promised_and_then_the_oldest_has_to_attest_again(tmp_path: Path) -> None:
    newest, roots = OLD, []
    for _ in range(MAX_HANDOVERS + 1):
        roots.append(newest.root)
        newest = newest.succeed(NOW)
    assert len(newest.handovers) == MAX_HANDOVERS
    assert len(connect(newest, roots[1], tmp_path)) == MAX_HANDOVERS + 2
    assert refused(newest, roots[0], tmp_path) == "cas.identity.certificate"


def test_only_the_first_certificate_of_the_file_is_the_root_of_the_cas(tmp_path: Path) -> None:
    file = tmp_path / "roots.pem"
    file.write_text(NEW.root_pem + OLD.root_pem)
    assert tls_context(file).get_ca_certs(binary_form=True) == [NEW.root_der]


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----", "no certificate"])
def test_a_file_without_a_root(tmp_path: Path, text: str) -> None:
    file = tmp_path / "root.pem"
    file.write_text(text)
    with pytest.raises(OSError, match="holds no PEM certificate"):
        tls_context(file)


# what does not


def test_the_old_key_itself_signs_no_server_any_more_but_a_thief_can(tmp_path: Path) -> None:
    """What theft of an old key means: who keeps the old root believes the thief; who attested again does not."""
    thief = replace(OLD, handovers=())
    assert len(connect(thief, OLD.root, tmp_path)) == 2
    assert refused(thief, NEW.root, tmp_path) == "cas.identity.certificate"


@dataclass(frozen=True)
class Made:
    """A cross certificate that is not as the CAS makes it."""

    by: Authority = OLD
    key: CertificatePublicKeyTypes = field(default_factory=NEW.key.public_key)
    subject: str = "Adyton CAS root"
    issuer: str = "Adyton CAS root"
    start: datetime = NOW - timedelta(days=1)
    end: datetime = NOW + timedelta(days=1)
    constraints: x509.BasicConstraints | None = AS_AUTHORITY
    signs: bool = True
    more_usage: bool = False
    subject_key: bool = True
    issuer_key: bool = True
    critical: bool = True
    extra: x509.ExtensionType | None = None
    hash: type[SHA256 | SHA384] = SHA256

    def certificate(self) -> x509.Certificate:
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (self.subject, self.issuer)]
        builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(self.key)
        builder = builder.serial_number(5).not_valid_before(self.start).not_valid_after(self.end)
        usage = x509.KeyUsage(
            self.more_usage, False, False, False, False, self.signs, True, False, False
        )  # digital signature, …, certificates, revocation lists
        extensions: Sequence[tuple[x509.ExtensionType | None, bool]] = (
            (self.constraints, self.critical),
            (usage, True),
            (x509.SubjectKeyIdentifier.from_public_key(self.key) if self.subject_key else None, False),
            (
                x509.AuthorityKeyIdentifier.from_issuer_public_key(OLD.key.public_key()) if self.issuer_key else None,
                False,
            ),
            (self.extra, False),
        )
        for extension, critical in extensions:
            if extension is not None:
                builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.by.key, self.hash())

    def authority(self) -> Authority:
        return Authority(NEW.key, NEW.root, (Handover(OLD.root, self.certificate()),))


WRONG: dict[str, tuple[Callable[[], Made], str]] = {
    "a stranger's": (lambda: Made(by=STRANGER), "cas.identity.certificate"),
    "expired": (
        lambda: Made(start=NOW - timedelta(days=9), end=NOW - timedelta(minutes=1)),
        "cas.identity.certificate",
    ),
    "not yet valid": (
        lambda: Made(start=NOW + timedelta(hours=1), end=NOW + timedelta(days=9)),
        "cas.identity.certificate",
    ),
    "no authority": (
        lambda: Made(constraints=x509.BasicConstraints(ca=False, path_length=None)),
        "cas.identity.certificate",
    ),
    "no constraints": (lambda: Made(constraints=None), "cas.identity.certificate"),
    "constraints that may be ignored": (lambda: Made(critical=False), "cas.identity.certificate"),
    "no path length": (
        lambda: Made(constraints=x509.BasicConstraints(ca=True, path_length=None)),
        "cas.identity.chain",
    ),
    "another path length": (
        lambda: Made(constraints=x509.BasicConstraints(ca=True, path_length=1)),
        "cas.identity.chain",
    ),
    "may not sign certificates": (lambda: Made(signs=False), "cas.identity.certificate"),
    "may sign more": (lambda: Made(more_usage=True), "cas.identity.chain"),
    "another name above": (lambda: Made(issuer="Another root"), "cas.identity.certificate"),
    "another name": (lambda: Made(subject="Another root"), "cas.identity.certificate"),
    "no own key identifier": (lambda: Made(subject_key=False), "cas.identity.certificate"),
    "no key identifier of its issuer": (lambda: Made(issuer_key=False), "cas.identity.certificate"),
    "another extension": (
        lambda: Made(extra=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])),
        "cas.identity.chain",
    ),
    "another hash": (lambda: Made(hash=SHA384), "cas.identity.chain"),
    "over another key": (lambda: Made(key=STRANGER.key.public_key()), "cas.identity.certificate"),
}


@pytest.mark.parametrize(("make", "code"), WRONG.values(), ids=WRONG.keys())
def test_another_cross_certificate_is_refused(make: Callable[[], Made], code: str, tmp_path: Path) -> None:
    made = make()
    authority = made.authority()
    if made.end < NOW:  # a CAS would not even show it
        assert x509.load_pem_x509_certificates(authority.issue_server(NEW.key.public_key(), (), NOW))[1:] == []
        assert refused(authority, OLD.root, tmp_path, issued=made.start) == code
    else:
        assert refused(authority, OLD.root, tmp_path) == code


def test_the_table_starts_from_one_that_is_accepted(tmp_path: Path) -> None:
    assert len(connect(Made().authority(), OLD.root, tmp_path)) == 3


def test_an_authority_between_that_is_not_of_an_exchange(tmp_path: Path) -> None:
    """Whoever has the old key could also make an ordinary intermediate authority: OpenSSL finds that chain too long."""
    other = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Intermediate")])
    made = Made(subject="Intermediate").certificate()
    under = Authority(NEW.key, replace_subject(NEW.root, other), (Handover(OLD.root, made),))
    assert refused(under, OLD.root, tmp_path) == "cas.identity.certificate"


def replace_subject(root: x509.Certificate, name: x509.Name) -> x509.Certificate:
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(root.public_key())
    builder = builder.serial_number(7).not_valid_before(root.not_valid_before_utc)
    return builder.not_valid_after(root.not_valid_after_utc).sign(NEW.key, SHA256())


# the judge alone


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def leaf(authority: Authority) -> bytes:
    pem = authority.issue_server(ec.generate_private_key(ec.SECP256R1()).public_key(), (), NOW)
    return der(x509.load_pem_x509_certificate(pem))


def test_the_judge_takes_the_chain_and_reads_nothing_else() -> None:
    check_chain([leaf(OLD), OLD.root_der])
    check_chain([leaf(NEW), der(NEW.handovers[0].cross), OLD.root_der])


def rsa_cross() -> bytes:
    return der(Made(key=rsa.generate_private_key(65537, 2048).public_key()).certificate())


def p384_cross() -> bytes:
    return der(Made(key=ec.generate_private_key(ec.SECP384R1()).public_key()).certificate())


@pytest.mark.parametrize(
    "between",
    [
        lambda: [rsa_cross()],
        lambda: [p384_cross()],
        lambda: [der(Made(subject="Another").certificate())],
        lambda: [b"no certificate"],
        lambda: [NEW.root_der],
        lambda: [leaf(NEW)],
        lambda: [der(NEW.handovers[0].cross)] * 2,
        lambda: [der(NEW.handovers[0].cross)] * (MAX_HANDOVERS + 1),
    ],
    ids=["RSA", "P-384", "name", "bytes", "a root", "a server", "one above itself", "too many"],
)
def test_the_judge_refuses(between: Callable[[], list[bytes]]) -> None:
    with pytest.raises(CasIdentityError) as caught:
        check_chain([leaf(NEW), *between(), OLD.root_der])
    assert caught.value.code == "cas.identity.chain"


@pytest.mark.parametrize("chain", [[], [b""], [NEW.root_der]], ids=["nothing", "empty", "one"])
def test_the_judge_refuses_what_is_no_chain(chain: list[bytes]) -> None:
    with pytest.raises(CasIdentityError):
        check_chain(chain)


def test_a_connection_that_tells_no_chain_is_not_believed() -> None:
    ours, theirs = socketpair()
    with ours, theirs, pytest.raises(UnavailableError) as caught:
        verified_chain(ours)  # type: ignore[arg-type]  # a socket without TLS has no chain
    assert caught.value.code == "cas.client.python"


# what an authority keeps of those before it


def test_a_successor_says_who_was_before_and_for_how_long() -> None:
    (handover,) = NEW.handovers
    assert handover.former == OLD.root
    assert NEW.root != OLD.root
    assert NEW.fingerprint != OLD.fingerprint
    assert handover.cross.public_key() == NEW.root.public_key()
    handover.cross.verify_directly_issued_by(OLD.root)
    assert handover.cross.not_valid_after_utc == NOW - timedelta(days=1) + timedelta(days=HANDOVER_DAYS)


def test_a_cross_certificate_does_not_outlive_the_root_that_made_it() -> None:
    late = OLD.root.not_valid_after_utc - timedelta(days=3)
    assert OLD.succeed(late).handovers[0].cross.not_valid_after_utc == OLD.root.not_valid_after_utc


def test_what_has_ended_is_forgotten_at_the_next_exchange() -> None:
    later = NEW.succeed(NOW + timedelta(days=HANDOVER_DAYS))
    assert [handover.former for handover in later.handovers] == [NEW.root]


def test_former_roots_are_handed_out_until_their_last_identities_have_ended() -> None:
    at = NOW - timedelta(days=1)
    assert roots(NEW, at) == [NEW.root, OLD.root]
    assert roots(NEW, at + timedelta(hours=4)) == [NEW.root, OLD.root]
    assert roots(NEW, at + timedelta(hours=4, minutes=5)) == [NEW.root]


def roots(authority: Authority, now: datetime) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(authority.roots_pem(now).encode())


def test_a_successor_survives_its_plain_form() -> None:
    again = Authority.from_plain(NEW.to_plain())
    assert (again.root, again.handovers) == (NEW.root, NEW.handovers)


def test_a_database_from_before_exchanges_has_no_former_roots() -> None:
    plain = {name: value for name, value in OLD.to_plain().items() if name != "handovers"}
    assert Authority.from_plain(plain).handovers == ()
