"""The simulated vendor: a certificate authority, revocation lists and TCB documents in the formats of the real one.

Everything it issues is a function of a 32-byte seed, a :class:`Catalogue` and the time, so that every process that has
the seed publishes the same bytes, and nothing needs to be stored but the seed and the key that signs its quoting
enclave. All names begin with *Simulated*: the root is what tells simulated evidence from real.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, Hash
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.pck import SGX_EXTENSION, CaKind, PckExtension
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import InputError
from adyton.base.files import write_private
from adyton.base.secret import Secret
from adyton.enclave.sigstruct import load_signer, mrsigner, new_signer
from adyton.platform.simulated.derive import derive_p256, sign_raw
from adyton.platform.simulated.documents import (
    COLLATERAL_LIFETIME,
    FMSPC,
    PCEID,
    PCESVN,
    Catalogue,
    Level,
    QeLevel,
    qe_identity,
    tcb_info,
)

__all__ = ["COLLATERAL_RENEWAL", "SEED_BYTES", "Catalogue", "Level", "QeLevel", "SimulatedVendor", "Update"]

SEED_BYTES: Final = 32
COLLATERAL_RENEWAL: Final = timedelta(days=10)  # so at least 20 days are always left
_MARGIN = timedelta(hours=1)  # for verifiers whose clock is behind
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_ROOT_END = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
_LEAF_YEARS = 7
# Intel's verification library wants every certificate to name its CRL; nobody fetches from here (RFC 2606).
_CRL_URL: Final = "https://simulated-vendor.invalid/sgx/certification/v4/"


class Update(StrEnum):
    """Which documents of the vendor are asked for (*PCS API v4*, parameter ``update``)."""

    STANDARD = "standard"
    EARLY = "early"  # with what the vendor knows already and holds others to later


@dataclass(frozen=True, slots=True)
class _Authority:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class SimulatedVendor:
    """Issues PCK certificates and collateral.

    Args:
        seed: 32 bytes from which all P-256 keys follow.
        qe_signer: RSA-3072 key that signs the vendor's quoting enclave.
        catalogue: what it says about its platforms.

    Attributes:
        catalogue: may be replaced at any time; what is published follows at once.
        early: what it will say, published already to those who ask for early updates; None where nothing is new.
    """

    def __init__(self, seed: Secret[bytes], qe_signer: rsa.RSAPrivateKey, catalogue: Catalogue | None = None) -> None:
        if len(seed) != SEED_BYTES:
            raise InputError(f"a vendor seed has {SEED_BYTES} bytes, not {len(seed)}", code="platform.vendor.seed")
        self._seed = seed
        self.qe_signer = qe_signer
        self.catalogue = catalogue or Catalogue()
        self.early: Catalogue | None = None
        self._root = self._authority("Root CA", None, path_length=1)
        self._platform_ca = self._authority("PCK Platform CA", self._root, path_length=0)
        self._issue = lru_cache(maxsize=8)(self._issue_collateral)

    @classmethod
    def create(cls, folder: Path) -> SimulatedVendor:
        """The vendor of ``folder``; made there, in files for the owner only, where it does not exist yet.

        Raises:
            InputError: the files are damaged.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        seed_file, signer_file = folder / "vendor-seed", folder / "qe-signer.pem"
        if not seed_file.exists():
            _write_once(seed_file, os.urandom(SEED_BYTES))
        if not signer_file.exists():
            key = new_signer()
            _write_once(signer_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return cls(Secret(seed_file.read_bytes()), load_signer(signer_file))

    @classmethod
    def in_memory(cls, seed: Secret[bytes] | None = None) -> SimulatedVendor:
        """A vendor that is stored nowhere."""
        return cls(seed or Secret(os.urandom(SEED_BYTES)), new_signer())

    @property
    def root_der(self) -> bytes:
        """The root certificate."""
        return self._root.certificate.public_bytes(Encoding.DER)

    @property
    def anchor(self) -> TrustAnchor:
        """What verifiers must name to accept this vendor's platforms."""
        return TrustAnchor.simulated_root(self.root_der)

    @property
    def fmspc(self) -> str:
        """FMSPC of all its platforms, 12 hex digits."""
        return FMSPC.hex()

    def certify(self, key: ec.EllipticCurvePublicKey, ppid: bytes, cpusvn: bytes, now: datetime) -> bytes:
        """The PCK chain (PEM: leaf, Platform CA, root) for a platform's attestation key at its TCB."""
        extension = PckExtension(
            ppid=ppid,
            components=tuple(cpusvn),
            pcesvn=PCESVN,
            cpusvn=cpusvn,
            pceid=PCEID,
            fmspc=FMSPC,
            sgx_type=1,
            instance_id=hashlib.sha256(b"adyton/simulated-instance" + ppid).digest()[:16],
            dynamic_platform=False,
            cached_keys=False,
            smt=self.catalogue.smt,
        )
        leaf = self._leaf("PCK Certificate", key, self._platform_ca, now, extension)
        return _pem(leaf, self._platform_ca.certificate, self._root.certificate)

    def collateral(
        self, now: datetime, kind: EvidenceKind = EvidenceKind.SGX, update: Update = Update.STANDARD
    ) -> Collateral:
        """Current collateral for evidence of ``kind`` from all its platforms; the same bytes until the next renewal.

        Raises:
            InputError: a technology that this vendor does not have.
        """
        if kind not in {EvidenceKind.SGX, EvidenceKind.TDX}:
            raise InputError(f"the simulated vendor has no collateral for {kind}", code="platform.vendor.kind")
        periods = (now - _EPOCH) // COLLATERAL_RENEWAL
        catalogue = self.early if update is Update.EARLY and self.early is not None else self.catalogue
        return self._issue(_EPOCH + periods * COLLATERAL_RENEWAL - _MARGIN, catalogue, kind)

    def fetch(self, fmspc: str, ca: CaKind, kind: EvidenceKind = EvidenceKind.SGX) -> Collateral:
        """As a :class:`~adyton.attestation.collateral.documents.CollateralSource` in the vendor's own process.

        Raises:
            InputError: a platform or a technology that is not of this vendor.
        """
        if fmspc.lower() != self.fmspc or ca is not CaKind.PLATFORM:
            raise InputError(f"no simulated platform has FMSPC {fmspc} and a {ca} CA", code="platform.vendor.fmspc")
        return self.collateral(datetime.now(UTC), kind)

    def _issue_collateral(self, issued: datetime, catalogue: Catalogue, kind: EvidenceKind) -> Collateral:
        signer_key = self._key("TCB Signing")
        signer = self._leaf("TCB Signing", signer_key.public_key(), self._root, issued)
        info = tcb_info(catalogue, issued, kind)
        identity = qe_identity(catalogue, issued, kind, catalogue.qe_mrsigner or mrsigner(self.qe_signer))
        root_pem = self._root.certificate
        return Collateral(
            pck_crl_issuer_chain=_pem(self._platform_ca.certificate, root_pem).decode(),
            root_ca_crl=_crl(self._root, issued, catalogue.revoked_by_root),
            pck_crl=_crl(self._platform_ca, issued, catalogue.revoked_pcks),
            tcb_info_issuer_chain=_pem(signer, root_pem).decode(),
            tcb_info=info,
            tcb_info_signature=sign_raw(signer_key, info.encode()),
            qe_identity_issuer_chain=_pem(signer, root_pem).decode(),
            qe_identity=identity,
            qe_identity_signature=sign_raw(signer_key, identity.encode()),
        )

    def _key(self, role: str) -> ec.EllipticCurvePrivateKey:
        return derive_p256(self._seed, "simulated-vendor", role.encode())

    def _authority(self, role: str, issuer: _Authority | None, *, path_length: int) -> _Authority:
        key = self._key(role)
        builder = _builder(role, key.public_key(), issuer, _EPOCH, _ROOT_END).add_extension(
            x509.BasicConstraints(ca=True, path_length=path_length), critical=True
        )
        builder = builder.add_extension(_usage(ca=True), critical=True)
        signer = key if issuer is None else issuer.key
        return _Authority(builder.sign(signer, SHA256(), ecdsa_deterministic=True), key)

    def _leaf(
        self,
        role: str,
        key: ec.EllipticCurvePublicKey,
        issuer: _Authority,
        now: datetime,
        extension: PckExtension | None = None,
    ) -> x509.Certificate:
        start = datetime(now.year, 1, 1, tzinfo=UTC) - timedelta(days=31)
        builder = _builder(role, key, issuer, start, start.replace(year=start.year + _LEAF_YEARS))
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(ca=False), critical=True)
        if extension is not None:
            value = x509.UnrecognizedExtension(SGX_EXTENSION, extension.to_der())
            builder = builder.add_extension(value, critical=False)
        return builder.sign(issuer.key, SHA256(), ecdsa_deterministic=True)


def _write_once(path: Path, data: bytes) -> None:
    """Make a private file whole, or leave the one that another process made first."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    write_private(draft, data)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _builder(
    role: str, key: ec.EllipticCurvePublicKey, issuer: _Authority | None, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    subject = _name(role)
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    serial = hashlib.sha256(f"adyton/serial\0{role}\0{start.isoformat()}\0".encode() + point).digest()[:16]
    issuer_key = key if issuer is None else issuer.key.public_key()
    of_platform = role == "PCK Certificate"  # the only one below an intermediate
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key)
        .serial_number(int.from_bytes(serial, "big") >> 1 | 1)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        .add_extension(x509.SubjectKeyIdentifier(_key_id(point)), critical=False)
        .add_extension(_crl_place("pckcrl?ca=platform&encoding=der" if of_platform else "rootcacrl"), critical=False)
    )


def _crl_place(path: str) -> x509.CRLDistributionPoints:
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(_CRL_URL + path)], None, None, None)
    return x509.CRLDistributionPoints([point])


def _key_id(point: bytes) -> bytes:
    digest = Hash(SHA1())  # noqa: S303  # RFC 5280 4.2.1.2 method (1): a name, not a protection
    digest.update(point)
    return digest.finalize()


def _name(role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"Simulated SGX {role}"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Adyton Simulation"),
        ]
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=not ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _crl(issuer: _Authority, issued: datetime, revoked: frozenset[int]) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(issued)
        .next_update(issued + COLLATERAL_LIFETIME)
        .add_extension(x509.CRLNumber((issued - _EPOCH).days), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    )
    for serial in sorted(revoked):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(issued).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.key, SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
