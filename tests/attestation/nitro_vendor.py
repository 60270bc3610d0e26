"""AWS as tests need it: a root, the authorities below it, and attestation documents in the real format, own keys.

    enclave = Enclave()                          # under a root that says "Simulated"
    enclave.document()                           # signed bytes; fields of the payload may be changed or left out
    enclave.anchor, enclave.chain()

The payload is written as the Nitro hypervisor does: a map of indefinite length, with null for what is not given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from adyton.attestation.anchors import TrustAnchor

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ES384_HEADER = bytes.fromhex("a1013822")
LEFT_OUT = object()


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    """One key for each name; names that end in P-256 say their curve."""
    return ec.generate_private_key(ec.SECP256R1() if name.endswith("P-256") else ec.SECP384R1())


@dataclass(frozen=True)
class Spec:
    """What one certificate of the chain is to be; the defaults make a good authority."""

    name: str
    issuer: str
    path_length: int | None = None
    ca: bool = True
    cert_sign: bool = True
    digital_signature: bool = True
    algorithm: type[SHA256 | SHA384] = SHA384
    issuer_key: str = ""
    life: timedelta = timedelta(days=20)
    start: datetime = NOW - timedelta(minutes=5)


ROOT = "Simulated aws.nitro-enclaves"
CHAIN: tuple[Spec, ...] = (
    Spec("enclave", "instance", ca=False, cert_sign=False, life=timedelta(hours=3)),
    Spec("instance", "zone", path_length=0, digital_signature=False, life=timedelta(days=1)),
    Spec("zone", "region", path_length=1),
    Spec("region", ROOT, path_length=2),
    Spec(ROOT, ROOT, life=timedelta(days=9000)),
)


@cache
def issue(spec: Spec) -> x509.Certificate:
    """The certificate; cached, because trust is in a fingerprint."""
    usage = x509.KeyUsage(
        digital_signature=spec.digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=spec.cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(_named(spec.name))
        .issuer_name(_named(spec.issuer))
        .public_key(ec_key(spec.name).public_key())
        .serial_number(1 + sum(spec.name.encode()))
        .not_valid_before(spec.start)
        .not_valid_after(spec.start + spec.life)
        .add_extension(x509.BasicConstraints(ca=spec.ca, path_length=spec.path_length), critical=True)
        .add_extension(usage, critical=spec.ca)
        .sign(ec_key(spec.issuer_key or spec.issuer), spec.algorithm())
    )


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass(frozen=True)
class Enclave:
    """One enclave; ``specs`` are its certificates from its own to the root."""

    specs: tuple[Spec, ...] = CHAIN
    made: datetime = NOW
    pcrs: Mapping[int, bytes] = field(
        default_factory=lambda: {n: bytes((n + 1,)) * 48 if n < 3 or n == 4 else bytes(48) for n in range(16)}
    )

    def chain(self) -> list[bytes]:
        """From the enclave's own certificate to the root."""
        return [issue(spec).public_bytes(Encoding.DER) for spec in self.specs]

    @property
    def anchor(self) -> TrustAnchor:
        return TrustAnchor.simulated_root(self.chain()[-1])

    def fields(self) -> dict[str, Any]:
        """The payload of a good document."""
        leaf, *above = self.chain()
        return {
            "module_id": "i-0123456789abcdef0-enc0123456789abcdef",
            "digest": "SHA384",
            "timestamp": int(self.made.timestamp() * 1000),
            "pcrs": dict(self.pcrs),
            "certificate": leaf,
            "cabundle": above[::-1],
            "public_key": None,
            "user_data": b"user data",
            "nonce": None,
        }

    def payload(self, **changes: Any) -> bytes:  # noqa: ANN401  # any field, of any type
        members = {name: value for name, value in (self.fields() | changes).items() if value is not LEFT_OUT}
        return b"\xbf" + b"".join(cbor2.dumps(each) for pair in members.items() for each in pair) + b"\xff"

    def document(self, **changes: Any) -> bytes:  # noqa: ANN401
        """A signed document."""
        return self.sign(self.payload(**changes))

    def sign(self, payload: bytes, *, protected: bytes = ES384_HEADER, unprotected: object = None) -> bytes:
        """A COSE_Sign1 message over any payload."""
        structure = cbor2.dumps(["Signature1", protected, b"", payload])
        key = ec_key(self.specs[0].name)
        r, s = decode_dss_signature(key.sign(structure, ec.ECDSA(SHA384())))
        signature = r.to_bytes(48, "big") + s.to_bytes(48, "big")
        return cbor2.dumps([protected, {} if unprotected is None else unprotected, payload, signature])
