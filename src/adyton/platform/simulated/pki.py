"""The simulated vendor: a certificate authority, revocation lists and TCB documents in the formats of the real one.

Everything it issues is a function of a 32-byte seed, a :class:`Catalogue` and the time, so that every process that has
the seed publishes the same bytes, and nothing needs to be stored but the seed and the key that signs its quoting
enclave. All names begin with *Simulated*: the root is what tells simulated evidence from real.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

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
from adyton.attestation.collateral import Collateral
from adyton.attestation.pck import SGX_EXTENSION, CaKind, PckExtension
from adyton.attestation.tcb import TcbStatus
from adyton.base.errors import InputError
from adyton.base.files import write_private
from adyton.base.secret import Secret
from adyton.enclave.sigstruct import load_signer, mrsigner, new_signer
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN
from adyton.platform.simulated.derive import derive_p256, sign_raw

SEED_BYTES: Final = 32
QE_ISVPRODID: Final = 1
QE_ISVSVN: Final = 8
FMSPC: Final = b"SIM\x00\x00\x00"
PCEID: Final = b"\x00\x00"
PCESVN: Final = 13

COLLATERAL_LIFETIME: Final = timedelta(days=30)
COLLATERAL_RENEWAL: Final = timedelta(days=10)  # so at least 20 days are always left
_MARGIN = timedelta(hours=1)  # for verifiers whose clock is behind
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_ROOT_END = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
_LEAF_YEARS = 7
_TCB_DATE = "2024-03-13T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Level:
    """A TCB level of the platform: reached when no SVN is above the platform's."""

    components: bytes
    pcesvn: int
    status: TcbStatus
    advisories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QeLevel:
    """A TCB level of the quoting enclave."""

    isvsvn: int
    status: TcbStatus
    advisories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the vendor says about its platforms; replace it to simulate an advisory, a new level or a revocation."""

    levels: tuple[Level, ...] = (
        Level(DEFAULT_CPUSVN, PCESVN, TcbStatus.UP_TO_DATE),
        Level(bytes(16), 0, TcbStatus.OUT_OF_DATE),
    )
    qe_levels: tuple[QeLevel, ...] = (QeLevel(QE_ISVSVN, TcbStatus.UP_TO_DATE), QeLevel(0, TcbStatus.OUT_OF_DATE))
    evaluation_number: int = 17
    qe_mrsigner: bytes | None = None  # None: that of the vendor's own quoting enclave
    smt: bool = False
    revoked_pcks: frozenset[int] = field(default=frozenset())  # serial numbers
    revoked_by_root: frozenset[int] = field(default=frozenset())


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
    """

    def __init__(self, seed: Secret[bytes], qe_signer: rsa.RSAPrivateKey, catalogue: Catalogue | None = None) -> None:
        if len(seed) != SEED_BYTES:
            raise InputError(f"a vendor seed has {SEED_BYTES} bytes, not {len(seed)}", code="platform.vendor.seed")
        self._seed = seed
        self.qe_signer = qe_signer
        self.catalogue = catalogue or Catalogue()
        self._root = self._authority("Root CA", None, path_length=1)
        self._platform_ca = self._authority("PCK Platform CA", self._root, path_length=0)
        self._issue = lru_cache(maxsize=4)(self._issue_collateral)

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

    def collateral(self, now: datetime) -> Collateral:
        """Current collateral for all its platforms; the same bytes until the next renewal."""
        periods = (now - _EPOCH) // COLLATERAL_RENEWAL
        return self._issue(_EPOCH + periods * COLLATERAL_RENEWAL - _MARGIN, self.catalogue)

    def fetch(self, fmspc: str, ca: CaKind) -> Collateral:
        """As a :class:`~adyton.attestation.collateral.CollateralSource` in the vendor's own process.

        Raises:
            InputError: a platform that is not of this vendor.
        """
        if fmspc.lower() != self.fmspc or ca is not CaKind.PLATFORM:
            raise InputError(f"no simulated platform has FMSPC {fmspc} and a {ca} CA", code="platform.vendor.fmspc")
        return self.collateral(datetime.now(UTC))

    def _issue_collateral(self, issued: datetime, catalogue: Catalogue) -> Collateral:
        signer_key = self._key("TCB Signing")
        signer = self._leaf("TCB Signing", signer_key.public_key(), self._root, issued)
        tcb_info = _text(_tcb_info(catalogue, issued))
        qe_identity = _text(_qe_identity(catalogue, issued, catalogue.qe_mrsigner or mrsigner(self.qe_signer)))
        root_pem = self._root.certificate
        return Collateral(
            pck_crl_issuer_chain=_pem(self._platform_ca.certificate, root_pem).decode(),
            root_ca_crl=_crl(self._root, issued, catalogue.revoked_by_root),
            pck_crl=_crl(self._platform_ca, issued, catalogue.revoked_pcks),
            tcb_info_issuer_chain=_pem(signer, root_pem).decode(),
            tcb_info=tcb_info,
            tcb_info_signature=sign_raw(signer_key, tcb_info.encode()),
            qe_identity_issuer_chain=_pem(signer, root_pem).decode(),
            qe_identity=qe_identity,
            qe_identity_signature=sign_raw(signer_key, qe_identity.encode()),
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
    )


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


def _dated(kind: str, version: int, catalogue: Catalogue, issued: datetime) -> dict[str, Any]:
    return {
        "id": kind,
        "version": version,
        "issueDate": _date(issued),
        "nextUpdate": _date(issued + COLLATERAL_LIFETIME),
        "tcbEvaluationDataNumber": catalogue.evaluation_number,
    }


def _tcb_info(catalogue: Catalogue, issued: datetime) -> dict[str, Any]:
    return {
        **_dated("SGX", 3, catalogue, issued),
        "fmspc": FMSPC.hex().upper(),
        "pceId": PCEID.hex(),
        "tcbType": 0,
        "tcbLevels": [
            {
                "tcb": {"sgxtcbcomponents": [{"svn": svn} for svn in level.components], "pcesvn": level.pcesvn},
                **_judgement(level),
            }
            for level in catalogue.levels
        ],
    }


def _qe_identity(catalogue: Catalogue, issued: datetime, signer: bytes) -> dict[str, Any]:
    return {
        **_dated("QE", 2, catalogue, issued),
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        # INIT set and DEBUG clear; MODE64BIT and XFRM do not matter, as in the real document.
        "attributes": "01000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": signer.hex().upper(),
        "isvprodid": QE_ISVPRODID,
        "tcbLevels": [{"tcb": {"isvsvn": level.isvsvn}, **_judgement(level)} for level in catalogue.qe_levels],
    }


def _judgement(level: Level | QeLevel) -> dict[str, Any]:
    document: dict[str, Any] = {"tcbDate": _TCB_DATE, "tcbStatus": level.status.value}
    return document | ({"advisoryIDs": list(level.advisories)} if level.advisories else {})


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
