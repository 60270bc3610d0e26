"""The certificates behind an SEV-SNP report: endorsement key (VCEK or VLEK) <- ASK or ASVK <- ARK.

Sources: AMD publication 57230, *VCEK Certificate and KDS Interface Specification*; RFC 5280; RFC 4055. ARK, ASK and
ASVK are ordinary certificates. Endorsement certificates have the serial number 0, which RFC 5280 forbids and the
certificate library warns of and is going to refuse; so they are read here, as the DER that they are.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import SignatureAlgorithmOID

from adyton.attestation import chain
from adyton.attestation.chain import LIBRARY_ERRORS, Pki, Window
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats import der
from adyton.attestation.snp.report import Generation, KeyKind, TcbVersion

MAX_CERTIFICATES: Final = 16  # one chain has 3; the vendor publishes 10 CA certificates in all
MAX_BYTES: Final = MAX_CERTIFICATES * 4096

_ARC = "1.3.6.1.4.1.3704.1"
_PRODUCT, _HWID, _CSP = f"{_ARC}.2", f"{_ARC}.4", f"{_ARC}.5"
_LEVELS: Final = {"bootloader": f"{_ARC}.3.1", "tee": f"{_ARC}.3.2", "snp": f"{_ARC}.3.3", "microcode": f"{_ARC}.3.8"}
_FMC = f"{_ARC}.3.9"
_IA5_STRING, _BIT_STRING, _UTC_TIME, _GENERALIZED_TIME = 0x16, 0x03, 0x17, 0x18

# RSASSA-PSS with SHA-384, MGF1 of SHA-384 and a salt of 48 bytes; in older certificates with the default trailer field.
_PSS_PARTS = (
    der.oid("1.2.840.113549.1.1.10"),
    der.element(0xA0, _SHA384 := der.sequence(der.oid("2.16.840.1.101.3.4.2.2"), der.element(0x05, b""))),
    der.element(0xA1, der.sequence(der.oid("1.2.840.113549.1.1.8"), _SHA384)),
    der.element(0xA2, der.integer(48)),
)
_PSS: Final = frozenset(
    der.sequence(_PSS_PARTS[0], der.sequence(*_PSS_PARTS[1:], *trailer))
    for trailer in ((), (der.element(0xA3, der.integer(1)),))
)

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\r?\n((?:[A-Za-z0-9+/=]{1,76}\r?\n)+)-----END CERTIFICATE-----[\s\0]*")


@dataclass(frozen=True, slots=True)
class EndorsementKey:
    """A VCEK or VLEK certificate; trust in it comes from the checks.

    Attributes:
        kind: of a chip, or of a cloud provider.
        generation: of the processors that it is for.
        tcb: security levels that the key is derived for (VCEK) or was given out for (VLEK).
        hwid: of the chip (VCEK), as much of CHIP_ID as the generation uses.
        csp: the cloud provider's name (VLEK).
        key: P-384.
        issuer: name of the issuer in DER.
        window: when it is valid.
        signed: what its issuer signed.
        signature: RSASSA-PSS over ``signed``.
    """

    kind: KeyKind
    generation: Generation
    tcb: TcbVersion
    hwid: bytes
    csp: str
    key: ec.EllipticCurvePublicKey
    issuer: bytes
    window: Window
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class AmdChain:
    """An endorsement key with the certificates above it."""

    endorsement: EndorsementKey
    signer: x509.Certificate  # ASK or ASVK
    root: x509.Certificate  # ARK

    @property
    def windows(self) -> tuple[Window, ...]:
        """When each certificate is valid."""
        return self.endorsement.window, chain.window_of(self.signer), chain.window_of(self.root)


def read_chain(certificates: bytes, kind: int) -> AmdChain:
    """Pick the chain of one endorsement key from certificates in any order, PEM or DER, one after the other.

    Args:
        certificates: at most :data:`MAX_CERTIFICATES`; what does not belong to the chain is not looked at further.
        kind: SIGNING_KEY of the report: which endorsement key to take where both kinds are given.

    Raises:
        AttestationError: ``attestation.chain.format``: something cannot be read, is missing, or is ambiguous.
    """
    leaves: list[EndorsementKey] = []
    authorities: list[x509.Certificate] = []
    for data in split(certificates):
        try:
            members = _members(data)
        except (der.DerError, *LIBRARY_ERRORS) as error:
            raise _error(f"a certificate cannot be read: {error}") from error
        if _PRODUCT in members.extensions:
            leaves.append(_endorsement(members))
        else:
            authorities.append(chain.load_certificate(data, "an AMD CA certificate"))
    fitting = [leaf for leaf in leaves if leaf.kind == kind] or leaves
    if len(fitting) != 1:
        raise _error(
            f"{len(fitting)} endorsement certificates are given, not 1",
            hint="give the VCEK (or VLEK) certificate that belongs to the report, with its ASK (or ASVK) and ARK",
        )
    signer = _named(authorities, fitting[0].issuer, "the endorsement certificate")
    root = _named(authorities, signer.issuer.public_bytes(), repr(chain.common_name(signer.subject)))
    return AmdChain(fitting[0], signer, root)


def check_chain(found: AmdChain) -> None:
    """Check signatures, keys, roles and names from the endorsement key to the self-signed root.

    Raises:
        AttestationError: ``attestation.chain.path``.
    """
    chain.check_path((found.signer, found.root), "the AMD chain", pki=AMD_PKI, below=1)
    endorsement, name = found.endorsement, chain.common_name(found.signer.subject)
    # Both intermediates are below one root: neither may stand in for the other, nor for another generation's.
    if ("VLEK" in name) != (endorsement.kind is KeyKind.VLEK) or endorsement.generation.product not in name:
        raise _path_error(f"{name!r} does not issue {endorsement.generation.product} {endorsement.kind.name}s")
    key = _rsa_key(found.signer, repr(name))
    try:
        key.verify(endorsement.signature, endorsement.signed, padding.PSS(padding.MGF1(SHA384()), 48), SHA384())
    except InvalidSignature as error:
        raise _path_error(f"the {endorsement.kind.name} is not issued by {name!r}") from error


def check_list(crl: x509.CertificateRevocationList, found: AmdChain) -> None:
    """Check that the chain's root made the revocation list.

    Raises:
        AttestationError: ``attestation.crl.signature``.
    """
    usage = found.root.extensions.get_extension_for_class(x509.KeyUsage).value
    if not usage.crl_sign:
        raise AttestationError("the AMD root may not sign lists", code="attestation.crl.signature")
    chain.check_crl(crl, found.root, "the AMD CRL", pki=AMD_PKI)


def split(certificates: bytes) -> list[bytes]:
    """Take PEM or DER certificates apart into DER.

    Raises:
        AttestationError: ``attestation.chain.format``: something else is between them, or they are too many.
    """
    if len(certificates) > MAX_BYTES:
        raise _error(f"{len(certificates)} bytes of certificates are over the limit")
    try:
        if certificates.lstrip().startswith(b"-----"):
            return _within(_split_pem(certificates.strip(b"\r\n\t \0")))
        return _within([der.element(tag, content) for tag, content in der.elements(certificates)])
    except (der.DerError, binascii.Error) as error:
        raise _error(f"the certificates are neither PEM nor DER: {error}") from error


def _split_pem(text: bytes) -> list[bytes]:
    found: list[bytes] = []
    position = 0
    while position < len(text):
        match = _PEM.match(text, position)
        if match is None:
            raise _error(f"something that is no PEM certificate stands at {position}")
        found.append(base64.b64decode(re.sub(rb"\s", b"", match[1]), validate=True))
        position = match.end()
    return found


def _within(found: list[bytes]) -> list[bytes]:
    if not 1 <= len(found) <= MAX_CERTIFICATES:
        raise _error(f"{len(found)} certificates are given, not 1 to {MAX_CERTIFICATES}")
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _Certificate:
    """What this room needs of a certificate, as DER."""

    signed: bytes
    signature: bytes
    algorithms: frozenset[bytes]
    issuer: bytes
    window: Window
    subject: bytes
    key: bytes
    extensions: dict[str, bytes]


def _members(data: bytes) -> _Certificate:
    """Take a version 3 certificate apart (RFC 5280 4.1); unique identifiers are refused."""
    tbs, outer, bits = der.elements(der.expect(der.single(data), der.SEQUENCE))
    version, _serial, inner, issuer, validity, subject, key, extensions = der.elements(der.expect(tbs, der.SEQUENCE))
    if version != (0xA0, der.integer(2)):
        raise der.DerError("it is not of version 3")
    signature = der.expect(bits, _BIT_STRING)
    if signature[:1] != b"\0":
        raise der.DerError("its signature is not whole bytes")
    start, end = der.elements(der.expect(validity, der.SEQUENCE))
    return _Certificate(
        signed=der.element(*tbs),
        signature=signature[1:],
        algorithms=frozenset({der.element(*outer), der.element(*inner)}),
        issuer=der.element(*issuer),
        window=Window("endorsement certificate", _time(start), _time(end)),
        subject=der.element(*subject),
        key=der.element(*key),
        extensions=_extensions(der.expect(extensions, 0xA3)),
    )


def _extensions(data: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for each in der.elements(der.expect(der.single(data), der.SEQUENCE)):
        name, *critical, value = der.elements(der.expect(each, der.SEQUENCE))
        oid = der.read_oid(der.expect(name, der.OID))
        if oid in found or len(critical) > 1:
            raise der.DerError(f"the extension {oid} is malformed or there twice")
        marked = bool(critical) and der.read_boolean(der.expect(critical[0], der.BOOLEAN))
        if marked and oid not in _KNOWN_CRITICAL:
            raise der.DerError(f"the critical extension {oid} is not understood")
        found[oid] = der.expect(value, der.OCTET_STRING)
    return found


_KNOWN_CRITICAL: Final = frozenset({"2.5.29.19", "2.5.29.15"})  # basic constraints and key usage


def _time(element: der.Element) -> datetime:
    tag, content = element
    form = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}.get(tag)
    if form is None or len(content) != (13 if tag == _UTC_TIME else 15) or not content[:-1].isdigit():
        raise der.DerError("a time is neither UTCTime nor GeneralizedTime")
    moment = datetime.strptime(content.decode("ascii"), form).replace(tzinfo=UTC)
    # RFC 5280 4.1.2.5.1: two-digit years are 1950 to 2049; strptime takes 69 to 99 for the 1900s.
    return moment.replace(year=moment.year - 100) if tag == _UTC_TIME and moment.year >= 2050 else moment


def _endorsement(members: _Certificate) -> EndorsementKey:
    if len(members.algorithms) != 1 or not members.algorithms <= _PSS:
        raise _error("the endorsement certificate is not signed with RSASSA-PSS and SHA-384")
    try:
        return _read_endorsement(members)
    except KeyError as error:
        raise _error(f"the endorsement certificate has no extension {error.args[0]}") from error
    except (der.DerError, *LIBRARY_ERRORS) as error:
        raise _error(f"the endorsement certificate: {error}") from error


def _read_endorsement(members: _Certificate) -> EndorsementKey:
    extensions = members.extensions
    product = _text(extensions[_PRODUCT]).partition("-")[0]  # with or without a stepping: "Milan-B0", "Milan"
    generation = next((each for each in Generation if each.product == product), None)
    if generation is None:
        raise der.DerError(f"the product {product!r} is not known")
    if (_HWID in extensions) == (_CSP in extensions):
        raise der.DerError("it is for neither, or both, of one chip and one provider")
    kind = KeyKind.VCEK if _HWID in extensions else KeyKind.VLEK
    if f"SEV-{kind.name}".encode() not in members.subject:
        raise der.DerError(f"its subject is not SEV-{kind.name}")
    levels = {name: _level(extensions[oid]) for name, oid in _LEVELS.items()}
    if generation.has_fmc:
        levels["fmc"] = _level(extensions[_FMC])
    key = load_der_public_key(members.key)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise der.DerError("its key is not on P-384")
    return EndorsementKey(
        kind=kind,
        generation=generation,
        tcb=TcbVersion(**levels),
        hwid=_hardware_id(extensions[_HWID], generation.chip_id_bytes) if kind is KeyKind.VCEK else b"",
        csp=_text(extensions[_CSP]) if kind is KeyKind.VLEK else "",
        key=key,
        issuer=members.issuer,
        window=Window(kind.name, members.window.start, members.window.end),
        signed=members.signed,
        signature=members.signature,
    )


def _hardware_id(value: bytes, size: int) -> bytes:
    """The id itself, or (in certificates of some years) an OCTET STRING of it."""
    if len(value) != size:
        value = der.expect(der.single(value), der.OCTET_STRING)
    if len(value) != size:
        raise der.DerError(f"its hardware id has {len(value)} bytes, not {size}")
    return value


def _text(value: bytes) -> str:
    text = der.expect(der.single(value), _IA5_STRING).decode("ascii")
    if not text.isprintable():  # people read it in verdicts
        raise der.DerError("a text has characters that cannot be printed")
    return text


def _level(value: bytes) -> int:
    level = der.read_integer(der.expect(der.single(value), der.INTEGER))
    if level > 255:
        raise der.DerError(f"a security level is {level}, over 255")
    return level


def _named(authorities: Sequence[x509.Certificate], name: bytes, of: str) -> x509.Certificate:
    found = next((each for each in authorities if each.subject.public_bytes() == name), None)
    if found is None:
        raise _error(
            f"the issuer of {of} is not among the certificates",
            hint="give the vendor's cert_chain of the processor's generation (ASK or ASVK, and ARK) with it",
        )
    return found


def _rsa_key(certificate: x509.Certificate, label: str) -> rsa.RSAPublicKey:
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != 4096:
        raise _path_error(f"{label} does not hold an RSA key of 4096 bits")
    return key


def _is_pss(signed: x509.Certificate | x509.CertificateRevocationList) -> bool:
    if signed.signature_algorithm_oid != SignatureAlgorithmOID.RSASSA_PSS:
        return False
    try:
        parts = der.elements(der.expect(der.single(signed.public_bytes(Encoding.DER)), der.SEQUENCE))
    except der.DerError:  # of a length that is read nowhere here
        return False
    return len(parts) == 3 and der.element(*parts[1]) in _PSS


AMD_PKI: Final = Pki(
    signature="RSASSA-PSS and SHA-384",
    key=_rsa_key,
    is_signed=_is_pss,
    cas_sign_lists=False,  # ASK and ASVK sign nothing but endorsement certificates
)


def _error(message: str, *, hint: str | None = None) -> AttestationError:
    return AttestationError(message, code="attestation.chain.format", hint=hint)


def _path_error(message: str) -> AttestationError:
    return AttestationError(message, code="attestation.chain.path")
