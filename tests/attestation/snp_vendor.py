"""AMD as tests need it: roots, intermediates, endorsement certificates and reports in the real formats, own keys.

    machine = Machine()                          # a Milan chip under a root that says "Simulated"
    report = machine.report()                    # signed bytes; any field of the structures may be given
    machine.certificates()                       # its VCEK, ASK and ARK in PEM
    Machine(kind=KeyKind.VLEK)                   # the same under a provider's key

Keys are made once for a test process: RSA with 4096 bits is slow to make.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.formats import der
from adyton.attestation.snp.report import (
    NO_MIGRATION_AGENT,
    Generation,
    GuestPolicy,
    KeyKind,
    PlatformInfo,
    SnpReport,
    SnpReport3,
    SnpReport5,
    TcbVersion,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TCB = TcbVersion(bootloader=4, tee=0, snp=24, microcode=217)
ARC = "1.3.6.1.4.1.3704.1"
PSS = padding.PSS(padding.MGF1(SHA384()), 48)
# RSASSA-PSS, SHA-384, MGF1 of SHA-384, salt 48: without and with the default trailer field, as found in the field
ALGORITHM = bytes.fromhex(
    "304106092a864886f70d01010a3034a00f300d06096086480165030402020500"
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130"
)
OLD_ALGORITHM = bytes.fromhex(
    "304606092a864886f70d01010a3039a00f300d06096086480165030402020500"
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130a303020101"
)
VERSIONS: Mapping[int, type[SnpReport]] = {2: SnpReport, 3: SnpReport3, 5: SnpReport5}


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """One key for each name; "small" has half the size."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048 if name == "small" else 4096)


@cache
def ec_key(name: str, curve: type[ec.EllipticCurve] = ec.SECP384R1) -> ec.EllipticCurvePrivateKey:  # noqa: ARG001
    return ec.generate_private_key(curve())


def named(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Simulated Micro Devices"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


@dataclass(frozen=True)
class Authority:
    """What one CA certificate is to be; the defaults make a good one."""

    name: str
    issuer: str
    key: str
    issuer_key: str
    path_length: int | None = 0
    ca: bool = True
    cert_sign: bool = True
    crl_sign: bool = False
    algorithm: type[SHA256 | SHA384] = SHA384
    salt: int | None = 48  # None for PKCS #1 v1.5
    start: datetime = NOW - timedelta(days=900)
    end: datetime = NOW + timedelta(days=9000)


@cache
def issue(wanted: Authority) -> x509.Certificate:
    """The certificate; cached, because signatures of this scheme differ and trust is in a fingerprint."""
    algorithm = wanted.algorithm()
    scheme = padding.PKCS1v15() if wanted.salt is None else padding.PSS(padding.MGF1(algorithm), wanted.salt)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=wanted.cert_sign,
        crl_sign=wanted.crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = x509.BasicConstraints(ca=wanted.ca, path_length=wanted.path_length if wanted.ca else None)
    return (
        x509.CertificateBuilder()
        .subject_name(named(wanted.name))
        .issuer_name(named(wanted.issuer))
        .public_key(rsa_key(wanted.key).public_key())
        .serial_number(65536 + sum(wanted.name.encode()))
        .not_valid_before(wanted.start)
        .not_valid_after(wanted.end)
        .add_extension(constraints, critical=True)
        .add_extension(usage, critical=True)
        .sign(rsa_key(wanted.issuer_key), algorithm, rsa_padding=scheme)
    )


def root(product: str = "Milan", **changes: Any) -> x509.Certificate:  # noqa: ANN401
    name = f"Simulated ARK-{product}"
    options = {"name": name, "issuer": name, "key": "ark", "issuer_key": "ark", "path_length": None, "crl_sign": True}
    return issue(Authority(**(options | changes)))


def intermediate_name(kind: KeyKind, product: str) -> str:
    return f"Simulated SEV-{'VLEK-' if kind is KeyKind.VLEK else ''}{product}"


def intermediate(kind: KeyKind, product: str = "Milan", **changes: Any) -> x509.Certificate:  # noqa: ANN401
    name = intermediate_name(kind, product)
    options = {"name": name, "issuer": f"Simulated ARK-{product}", "key": f"ask-{kind.name}", "issuer_key": "ark"}
    return issue(Authority(**(options | changes)))


def revocations(serials: Sequence[int] = (), *, key: str = "ark", product: str = "Milan", days: int = 180) -> bytes:
    """The root's revocation list."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(named(f"Simulated ARK-{product}"))
        .last_update(NOW - timedelta(days=180))
        .next_update(NOW + timedelta(days=days))
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - timedelta(days=200))
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(rsa_key(key), SHA384(), rsa_padding=PSS).public_bytes(Encoding.DER)


def time_of(moment: datetime) -> bytes:
    if moment.year >= 2050:
        return der.element(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode())
    return der.element(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())


@dataclass(frozen=True)
class Machine:
    """One chip with its endorsement key; every part of the certificate can be changed."""

    generation: Generation = Generation.MILAN
    kind: KeyKind = KeyKind.VCEK
    tcb: TcbVersion = TCB
    seed: int = 7
    csp: str = "CN=cc.simulated.example"
    key: str = "chip"
    curve: type[ec.EllipticCurve] = ec.SECP384R1
    # of the certificate
    extensions: Mapping[str, bytes | None] = field(default_factory=dict)  # changed, or left out
    critical: str = ""
    subject: str = ""
    issuer: str = ""
    issuer_key: str = ""
    serial: int = 0
    version: bytes = der.element(0xA0, der.integer(2))
    algorithm: bytes = ALGORITHM
    outer_algorithm: bytes | None = None
    start: datetime = NOW - timedelta(days=30)
    end: datetime = NOW + timedelta(days=2500)
    validity: bytes = b""  # instead of start and end
    added: bytes = b""  # encoded extensions after the others

    @property
    def hwid(self) -> bytes:
        return bytes((self.seed + n) % 256 or 1 for n in range(self.generation.chip_id_bytes))

    @property
    def chip_id(self) -> bytes:
        """As a report has it: a provider's key goes with a masked one."""
        return self.hwid.ljust(64, b"\0") if self.kind is KeyKind.VCEK else bytes(64)

    @property
    def anchor(self) -> TrustAnchor:
        return TrustAnchor.simulated_root(root(self.generation.product).public_bytes(Encoding.DER))

    def endorsement(self) -> bytes:
        """The VCEK or VLEK certificate in DER."""
        product, stepping = self.generation.product, "-B0" if self.kind is KeyKind.VCEK else ""
        values: dict[str, bytes | None] = {
            f"{ARC}.1": der.integer(0),
            f"{ARC}.2": der.element(0x16, (product + stepping).encode()),
            f"{ARC}.3.1": der.integer(self.tcb.bootloader),
            f"{ARC}.3.2": der.integer(self.tcb.tee),
            f"{ARC}.3.3": der.integer(self.tcb.snp),
            f"{ARC}.3.8": der.integer(self.tcb.microcode),
        }
        if self.generation.has_fmc:
            values[f"{ARC}.3.9"] = der.integer(self.tcb.fmc)
        own = (
            {f"{ARC}.4": self.hwid} if self.kind is KeyKind.VCEK else {f"{ARC}.5": der.element(0x16, self.csp.encode())}
        )
        values |= own | dict(self.extensions)
        tbs = der.sequence(
            self.version,
            der.integer(self.serial),
            self.algorithm,
            named(self.issuer or intermediate_name(self.kind, product)).public_bytes(),
            der.sequence(self.validity or time_of(self.start) + time_of(self.end)),
            named(self.subject or f"SEV-{self.kind.name}").public_bytes(),
            self.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            der.element(
                0xA3, der.sequence(*(self._extension(*each) for each in values.items() if each[1]), self.added)
            ),
        )
        signature = rsa_key(self.issuer_key or f"ask-{self.kind.name}").sign(tbs, PSS, SHA384())
        return der.sequence(tbs, self.outer_algorithm or self.algorithm, der.element(3, b"\0" + signature))

    def _extension(self, oid: str, value: bytes | None) -> bytes:
        marked = (der.boolean(value=True),) if oid == self.critical else ()
        return der.sequence(der.oid(oid), *marked, der.octets(value or b""))

    @property
    def private_key(self) -> ec.EllipticCurvePrivateKey:
        return ec_key(f"{self.key}-{self.seed}", self.curve)

    def certificates(self, *, ask: x509.Certificate | None = None, ark: x509.Certificate | None = None) -> bytes:
        """The chain in PEM, from the endorsement key to the root."""
        product = self.generation.product
        above = (ask or intermediate(self.kind, product), ark or root(product))
        return pem(self.endorsement()) + b"".join(each.public_bytes(Encoding.PEM) for each in above)

    def fields(self, version: int = 3) -> dict[str, Any]:
        """A good report's fields."""
        tcb = self.tcb.to_bytes(self.generation)
        values: dict[str, Any] = {
            "version": version,
            "guest_svn": 2,
            "policy": int(GuestPolicy.RESERVED_ONE | GuestPolicy.SMT),
            "family_id": bytes(16),
            "image_id": bytes(16),
            "vmpl": 0,
            "signature_algorithm": 1,
            "current_tcb": tcb,
            "platform_info": int(PlatformInfo.SMT_EN | PlatformInfo.ALIAS_CHECK_COMPLETE),
            "key_info": self.kind << 2,
            "report_data": b"report data".ljust(64, b"\0"),
            "measurement": b"\x11" * 48,
            "host_data": b"\x22" * 32,
            "id_key_digest": bytes(48),
            "author_key_digest": bytes(48),
            "report_id": b"\x33" * 32,
            "report_id_ma": NO_MIGRATION_AGENT,
            "reported_tcb": tcb,
            "chip_id": self.chip_id,
            "committed_tcb": tcb,
            "current_build": 29,
            "current_minor": 55,
            "current_major": 1,
            "committed_build": 29,
            "committed_minor": 55,
            "committed_major": 1,
            "launch_tcb": tcb,
            "signature_r": bytes(48),
            "signature_s": bytes(48),
        }
        if version >= 3:
            model = min(self.generation.models)
            values |= {"cpuid_family": self.generation.family, "cpuid_model": model, "cpuid_stepping": 1}
        if version >= 5:
            values |= {"launch_mit_vector": 3, "current_mit_vector": 7}
        return values

    def report(self, version: int = 3, **changes: Any) -> bytes:  # noqa: ANN401  # as the fields are
        """A signed report."""
        return self.sign(VERSIONS[version](**(self.fields(version) | changes)).to_bytes())

    def sign(self, report: bytes) -> bytes:
        """The bytes of a report with this chip's signature, whatever they say."""
        signed = report[:0x2A0]
        r, s = decode_dss_signature(self.private_key.sign(signed, ec.ECDSA(SHA384())))
        return signed + b"".join(n.to_bytes(72, "little") for n in (r, s)) + bytes(0x170)


def pem(data: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(data) + b"-----END CERTIFICATE-----\n"
