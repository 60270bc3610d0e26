"""Certificates and revocation lists that the right authority signs, with something else in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from fuzz.specimen import NOW, Maker

from adyton.attestation.chain import LIBRARY_ERRORS
from adyton.attestation.dcap.pck import SGX_EXTENSION, PckExtension
from adyton.attestation.errors import AttestationError
from fuzz import bytewise

_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
_NAMES: Final = ("", "Simulated SGX Root CA", "Simulated SGX PCK Platform CA", "Simulated SGX PCK Processor CA",
                 "Simulated SGX PCK Certificate", "Simulated SGX TCB Signing", "Intel SGX Root CA")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draft:
    """What a certificate will say; extensions are (value, critical)."""

    subject: x509.Name
    issuer: x509.Name
    key: ec.EllipticCurvePublicKey
    serial: int
    start: datetime
    end: datetime
    extensions: tuple[tuple[x509.ExtensionType, bool], ...]
    signer: ec.EllipticCurvePrivateKey
    digest: SHA256 | SHA384 | SHA512

    def sign(self) -> x509.Certificate:
        """The certificate."""
        builder = x509.CertificateBuilder(
            self.issuer, self.subject, self.key, self.serial, self.start.replace(tzinfo=None),
            self.end.replace(tzinfo=None),
        )  # fmt: skip
        for value, critical in self.extensions:
            builder = builder.add_extension(value, critical)
        return builder.sign(self.signer, self.digest, ecdsa_deterministic=True)


def reissue_chain(rng: Random, pem: bytes, maker: Maker) -> bytes:
    """A chain with one of its certificates made again; as it was where a mutation before left no chain."""
    blocks = _BLOCK.findall(pem)
    if len(blocks) not in {2, 3}:
        return pem
    position = rng.choice((0, 0, 0, *range(len(blocks))))
    root = position == len(blocks) - 1
    signer = maker.root_key if root or position == len(blocks) - 2 else maker.ca_key
    try:
        certificate = x509.load_pem_x509_certificate(blocks[position])
        blocks[position] = reissue(rng, certificate, signer, maker).public_bytes(Encoding.PEM)
    except (AttestationError, *LIBRARY_ERRORS):
        return pem  # mutated before beyond reading, or to what the library will not write
    return b"".join(blocks)


def reissue(
    rng: Random, certificate: x509.Certificate, signer: ec.EllipticCurvePrivateKey, maker: Maker
) -> x509.Certificate:
    """The same certificate with one or two changes."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return certificate
    draft = Draft(
        certificate.subject,
        certificate.issuer,
        key,
        certificate.serial_number,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        tuple((each.value, each.critical) for each in certificate.extensions),
        signer,
        SHA256(),
    )
    for _ in range(rng.choice((1, 1, 1, 2))):
        draft = rng.choice(_EDITS)(rng, draft, maker)
    return draft.sign()


def _dates(rng: Random, draft: Draft, _maker: Maker) -> Draft:
    moment = NOW + timedelta(seconds=rng.choice((-1, 0, 1, -86400, 86400)))
    return replace(draft, start=moment) if rng.random() < 0.5 else replace(draft, end=max(moment, draft.start))


def _drop(rng: Random, draft: Draft, _maker: Maker) -> Draft:
    position = rng.randrange(len(draft.extensions)) if draft.extensions else 0
    return replace(draft, extensions=draft.extensions[:position] + draft.extensions[position + 1 :])


def _criticality(rng: Random, draft: Draft, _maker: Maker) -> Draft:
    position = rng.randrange(len(draft.extensions)) if draft.extensions else 0
    changed = [(value, critical ^ (i == position)) for i, (value, critical) in enumerate(draft.extensions)]
    return replace(draft, extensions=tuple(changed))


def _unknown(rng: Random, draft: Draft, _maker: Maker) -> Draft:
    value = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.1"), rng.randbytes(4))
    return replace(draft, extensions=(*draft.extensions, (value, rng.random() < 0.5)))


def _constraints(rng: Random, draft: Draft, _maker: Maker) -> Draft:
    ca = rng.random() < 0.5
    return _with(draft, x509.BasicConstraints(ca, rng.choice((None, 0, 1, 2)) if ca else None))


def _usage(rng: Random, draft: Draft, _maker: Maker) -> Draft:
    a, b, c, d, e, f, g = (rng.random() < 0.5 for _ in range(7))
    return _with(draft, x509.KeyUsage(a, b, c, d, e, f, g, encipher_only=False, decipher_only=False))


def _subject(rng: Random, draft: Draft, _maker: Maker) -> Draft:
    return replace(draft, subject=_name(rng))


def _issuer(rng: Random, draft: Draft, _maker: Maker) -> Draft:
    return replace(draft, issuer=_name(rng))


def _name(rng: Random) -> x509.Name:
    text = rng.choice(_NAMES)
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def _serial(rng: Random, draft: Draft, _maker: Maker) -> Draft:
    return replace(draft, serial=rng.choice((1, rng.getrandbits(152) + 1, draft.serial + 1)))


def _key(rng: Random, draft: Draft, maker: Maker) -> Draft:
    p384 = ec.derive_private_key(rng.getrandbits(300) + 1, ec.SECP384R1())
    return replace(draft, key=rng.choice((maker.other_key, maker.root_key, maker.tcb_key, p384)).public_key())


def _signer(rng: Random, draft: Draft, maker: Maker) -> Draft:
    return replace(draft, signer=rng.choice((maker.root_key, maker.ca_key, maker.tcb_key, maker.pck_key)))


def _digest(rng: Random, draft: Draft, _maker: Maker) -> Draft:
    return replace(draft, digest=rng.choice((SHA384(), SHA512())))


def _platform(rng: Random, draft: Draft, maker: Maker) -> Draft:
    """The SGX extension: another platform, another TCB, or damaged bytes."""
    for value, _critical in draft.extensions:
        if isinstance(value, x509.UnrecognizedExtension) and value.oid == SGX_EXTENSION:
            return _with(draft, x509.UnrecognizedExtension(SGX_EXTENSION, _sgx(rng, value.value)))
    return _usage(rng, draft, maker)


def _sgx(rng: Random, der: bytes) -> bytes:
    if rng.random() < 0.3:
        return bytewise.mutate(rng, der)
    extension = PckExtension.parse(der)
    components = list(extension.components)
    components[rng.randrange(16)] = rng.choice((0, 1, 2, 254, 255))
    # dcap-qvl compares the bytes of CPUSVN with a level, ours the components, as PCS API v4 says. They are the same in
    # all certificates that are known, and so here: what would follow from a difference is no question to two verifiers.
    svns: dict[str, object] = {"components": tuple(components), "cpusvn": bytes(components)}
    choices: tuple[dict[str, object], ...] = (
        svns, svns | {"pcesvn": rng.choice((0, 12, 13, 14, 0x7FFF))}, {"pcesvn": rng.choice((0, 12, 14))},
        {"fmspc": rng.randbytes(6)}, {"pceid": b"\x01\x00"}, {"ppid": rng.randbytes(16)},
        {"sgx_type": rng.choice((0, 1, 2))},
        {"smt": not extension.smt}, {"dynamic_platform": True}, {"cached_keys": True}, {"instance_id": None},
        {"instance_id": None, "smt": None, "dynamic_platform": None, "cached_keys": None},
    )  # fmt: skip
    change = rng.choice(choices)
    return replace(extension, **change).to_der()  # type: ignore[arg-type]  # members by name


def _with(draft: Draft, value: x509.ExtensionType) -> Draft:
    kept = tuple((old, critical) for old, critical in draft.extensions if old.oid != value.oid)
    return replace(draft, extensions=(*kept, (value, value.oid != SGX_EXTENSION)))


_EDITS: Final[tuple[Callable[[Random, Draft, Maker], Draft], ...]] = (
    _dates, _drop, _criticality, _unknown, _constraints, _usage, _subject, _issuer, _serial, _key, _signer, _digest,
    _platform, _platform, _platform, _platform,
)  # fmt: skip


def reissue_crl(rng: Random, der: bytes, signers: tuple[ec.EllipticCurvePrivateKey, ...], serials: list[int]) -> bytes:
    """A list of the same issuer with other dates, entries or extensions; ``signers`` has the right key first."""
    try:
        old = x509.load_der_x509_crl(der)
        builder = _crl_extensions(rng, _crl_entries(rng, _crl_dates(rng, old), serials), old)
        signer = rng.choice((signers[0], signers[0], signers[0], *signers))
        digest = rng.choice((SHA256(), SHA256(), SHA256(), SHA384()))
        return builder.sign(signer, digest, ecdsa_deterministic=True).public_bytes(Encoding.DER)
    except LIBRARY_ERRORS:
        return der  # mutated before beyond reading, or to what the library will not write


def _crl_dates(rng: Random, old: x509.CertificateRevocationList) -> x509.CertificateRevocationListBuilder:
    end = old.next_update_utc or NOW
    moment = NOW + timedelta(seconds=rng.choice((-1, 0, 1, -86400, 86400)))
    start, end = rng.choice(((old.last_update_utc, end), (moment, max(end, moment)), (old.last_update_utc, moment)))
    builder = x509.CertificateRevocationListBuilder(rng.choice((old.issuer, old.issuer, _name(rng))))
    return builder.last_update(start).next_update(max(start, end))


def _crl_entries(
    rng: Random, builder: x509.CertificateRevocationListBuilder, serials: list[int]
) -> x509.CertificateRevocationListBuilder:
    for serial in rng.sample([*serials, 1, rng.getrandbits(150) + 1], rng.randint(0, 2)):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW)
        if rng.random() < 0.3:
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.remove_from_crl), critical=rng.random() < 0.5)
        builder = builder.add_revoked_certificate(entry.build())
    return builder


def _crl_extensions(
    rng: Random, builder: x509.CertificateRevocationListBuilder, old: x509.CertificateRevocationList
) -> x509.CertificateRevocationListBuilder:
    for extension in old.extensions if rng.random() < 0.8 else ():
        builder = builder.add_extension(extension.value, extension.critical ^ (rng.random() < 0.1))
    if rng.random() < 0.1:
        builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=rng.random() < 0.5)
    return builder
