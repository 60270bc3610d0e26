"""The keys and secrets behind a session: made once, kept through updates, and put in place of their names.

A template names a secret as ``$$SCONE::name$$`` or ``$$SCONE::name:format$$``. Formats by kind (the first is the
default):

=============  ==========================  ==========================================================
kind           formats                     meaning
=============  ==========================  ==========================================================
ascii          text, hex, base64           the text; its bytes in hex or base64
binary         raw, hex, base64            the bytes themselves (injected files only), or encoded
enclave-key    raw, hex, base64            32 bytes derived for the asking enclave's MRENCLAVE
private-key    pem, privatekey             PKCS#8 PEM (both)
x509           crt, privatekey, pem        certificate PEM; its key; certificate followed by key
=============  ==========================  ==========================================================

What is put in is not searched again, so a secret's value cannot name another secret.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from adyton.base.aead import derive_key
from adyton.base.secret import Secret
from adyton.cas.session import (
    AsciiSecret,
    BinarySecret,
    EnclaveKeySecret,
    PrivateKeySecret,
    SecretDefinition,
    Session,
    SessionError,
    X509Secret,
)

VOLUME_KEY_BYTES: Final = 32
CERTIFICATE_DAYS: Final = 365
_SEED_BYTES: Final = 32
_ALPHABET: Final = string.ascii_letters + string.digits
_MARK: Final = "$$SCONE::"
_TEMPLATE: Final = re.compile(r"\$\$SCONE::([A-Za-z0-9][A-Za-z0-9._-]{0,127})(?::([a-z0-9]{1,16}))?\$\$")
_FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    "ascii": ("text", "hex", "base64"),
    "binary": ("raw", "hex", "base64"),
    "enclave-key": ("raw", "hex", "base64"),
    "private-key": ("pem", "privatekey"),
    "x509": ("crt", "privatekey", "pem"),
}


@dataclass(frozen=True, slots=True)
class SecretValue:
    """One secret's value: its bytes (text, raw bytes, key PEM), and the certificate PEM of an x509.

    Of an enclave-key the bytes are the seed that each enclave's key is derived from; they never leave the CAS.
    """

    kind: str
    value: Secret[bytes]
    certificate: bytes = b""


@dataclass(frozen=True, slots=True)
class Material:
    """All keys and secrets of a session, by name."""

    volume_keys: Mapping[str, Secret[bytes]] = field(default_factory=dict)
    secrets: Mapping[str, SecretValue] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """As JSON values, for encryption only."""
        return {
            "volumes": {name: key.reveal().hex() for name, key in self.volume_keys.items()},
            "secrets": {
                name: {"kind": item.kind, "value": item.value.reveal().hex(), "certificate": item.certificate.decode()}
                for name, item in self.secrets.items()
            },
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Material:
        """The inverse of :meth:`to_plain`; the input was authenticated by decryption."""
        return cls(
            {name: Secret(bytes.fromhex(key)) for name, key in plain["volumes"].items()},
            {
                name: SecretValue(item["kind"], Secret(bytes.fromhex(item["value"])), item["certificate"].encode())
                for name, item in plain["secrets"].items()
            },
        )


def make_material(session: Session, now: datetime, previous: Session | None, kept: Material) -> Material:
    """The material of a new or updated session.

    Volume keys are kept by name; secrets are kept when their definition did not change, and made anew otherwise.

    Raises:
        SessionError: a given value that is not of its kind.
    """
    before = {definition.name: definition for definition in previous.secrets} if previous else {}
    values: dict[str, SecretValue] = {}
    remade: set[str] = set()
    # keys first: certificates are made over them
    for index, definition in sorted(enumerate(session.secrets), key=lambda item: isinstance(item[1], X509Secret)):
        stale = isinstance(definition, X509Secret) and definition.private_key in remade
        if before.get(definition.name) == definition and definition.name in kept.secrets and not stale:
            values[definition.name] = kept.secrets[definition.name]
            continue
        remade.add(definition.name)
        values[definition.name] = _make(definition, f"secrets[{index}].value", values, now)
    volumes = {
        volume.name: kept.volume_keys.get(volume.name) or Secret(secrets.token_bytes(VOLUME_KEY_BYTES))
        for volume in session.volumes
    }
    return Material(volumes, values)


def check_templates(session: Session) -> None:
    """Check that every template names secrets of the session in formats that fit their kind and place.

    Raises:
        SessionError: with the path of the template.
    """
    kinds = {definition.name: definition.kind for definition in session.secrets}
    for index, service in enumerate(session.services):
        _check_template(f"services[{index}].command", service.command, kinds, as_text=True)
        for name, value in service.environment.items():
            _check_template(f"services[{index}].environment.{name}", value or "", kinds, as_text=True)
    for index, image in enumerate(session.images):
        for place, file in enumerate(image.injection_files):
            path = f"images[{index}].injection_files[{place}].content"
            _check_template(path, file.content, kinds, as_text=False)


def fill(template: str, material: Material, mrenclave: bytes) -> bytes:
    """The template with its secrets in place, for the enclave that was measured as ``mrenclave``.

    Templates were checked when the session was stored.
    """
    parts: list[bytes] = []
    end = 0
    for match in _TEMPLATE.finditer(template):
        value = _render(material.secrets[match[1]], match[2], match[1], mrenclave)
        parts += [template[end : match.start()].encode(), value]
        end = match.end()
    return b"".join([*parts, template[end:].encode()])


def fill_text(template: str, material: Material, mrenclave: bytes) -> str:
    """:func:`fill` where only text is possible; raw binary was refused by :func:`check_templates`."""
    return fill(template, material, mrenclave).decode()


def is_enclave_bound(template: str, material: Material) -> bool:
    """Whether the template is one enclave-key and nothing else: a value that its session's owner cannot know."""
    match = _TEMPLATE.fullmatch(template)
    return match is not None and material.secrets[match[1]].kind == "enclave-key"


def _check_template(path: str, template: str, kinds: Mapping[str, str], *, as_text: bool) -> None:
    matches = list(_TEMPLATE.finditer(template))
    if template.count(_MARK) != len(matches):
        raise SessionError(path, "holds '$$SCONE::' that is not of the form $$SCONE::name$$ or $$SCONE::name:format$$")
    for match in matches:
        name, form = match[1], match[2]
        if name not in kinds:
            raise SessionError(path, f"no secret is named {name!r}")
        formats = _FORMATS[kinds[name]]
        if form is not None and form not in formats:
            raise SessionError(
                path, f"a secret of kind {kinds[name]} has no format {form!r}; it has {', '.join(formats)}"
            )
        if as_text and (form or formats[0]) == "raw":
            raise SessionError(path, f"raw bytes cannot stand in text: write $$SCONE::{name}:hex$$ or :base64$$")


def _render(item: SecretValue, form: str | None, name: str, mrenclave: bytes) -> bytes:
    value = item.value.reveal()
    if item.kind == "enclave-key":
        value = derive_key(item.value, "cas/enclave-key/1", name.encode(), mrenclave).reveal()
    match form or _FORMATS[item.kind][0]:
        case "hex":
            return value.hex().encode()
        case "base64":
            return base64.b64encode(value)
        case "crt":
            return item.certificate
        case "pem":
            return item.certificate + value  # a private key has no certificate: the key alone
        case _:
            return value


def _make(definition: SecretDefinition, path: str, values: Mapping[str, SecretValue], now: datetime) -> SecretValue:
    match definition:
        case AsciiSecret():
            return SecretValue("ascii", Secret(_ascii(definition, path)))
        case BinarySecret():
            return SecretValue("binary", Secret(_binary(definition, path)))
        case EnclaveKeySecret():
            return SecretValue("enclave-key", Secret(secrets.token_bytes(_SEED_BYTES)))
        case PrivateKeySecret():
            return SecretValue("private-key", Secret(_private_key(definition.value, path)))
        case X509Secret():
            own = definition.private_key
            key = values[own].value if own is not None else Secret(_private_key(None, path))
            return SecretValue("x509", key, _certificate(definition, key, path, now))


def _ascii(definition: AsciiSecret, path: str) -> bytes:
    if definition.value is None:
        return "".join(secrets.choice(_ALPHABET) for _ in range(definition.size)).encode()
    if not definition.value.isascii() or "\0" in definition.value:
        raise SessionError(path, "an ascii secret holds ASCII without NUL only")
    return definition.value.encode()


def _binary(definition: BinarySecret, path: str) -> bytes:
    if definition.value is None:
        return secrets.token_bytes(definition.size)
    try:
        value = binascii.unhexlify(definition.value)
    except ValueError:
        raise SessionError(path, "the value of a binary secret is hex text of even length") from None
    if "size" in definition.model_fields_set and len(value) != definition.size:
        raise SessionError(path, f"has {len(value)} bytes, but size says {definition.size}")
    return value


def _private_key(pem: str | None, path: str) -> bytes:
    if pem is None:
        key: Any = ec.generate_private_key(ec.SECP256R1())
    else:
        try:
            key = load_pem_private_key(pem.encode(), None)
        except (ValueError, TypeError):
            raise SessionError(path, "is not an unencrypted PEM private key") from None
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _certificate(definition: X509Secret, key_pem: Secret[bytes], path: str, now: datetime) -> bytes:
    key = load_pem_private_key(key_pem.reveal(), None)
    if not isinstance(
        key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
    ):
        raise SessionError(path, "a certificate cannot be made over this type of key")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, definition.common_name or definition.name[:64])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if definition.dns:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in definition.dns]), critical=False
        )
    edwards = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(key, None if edwards else SHA256()).public_bytes(Encoding.PEM)
