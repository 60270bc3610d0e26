"""The keys and secrets behind a session: made or read once, kept through updates, and never shown again.

How they get into a service's part is :mod:`adyton.cas.language.templates`.
"""

from __future__ import annotations

import binascii
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from adyton.base.secret import Secret
from adyton.cas.language.certificates import make_certificate, new_key, read_authority, read_chain, read_key
from adyton.cas.language.secretkinds import (
    AsciiSecret,
    BinarySecret,
    CertificateDefinition,
    EnclaveKeySecret,
    PrivateKeySecret,
    SecretDefinition,
    X509CaSecret,
    X509Secret,
)
from adyton.cas.language.session import Session, SessionError
from adyton.cas.releasing.keyring import EnclaveKeys, KeyRing
from adyton.cas.releasing.upgrade import Line

VOLUME_KEY_BYTES: Final = 32
_SEED_BYTES: Final = 32
_ALPHABET: Final = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class SecretValue:
    """One secret's value: its bytes (text, raw bytes, key PEM), and of a certificate the PEM and its issuers'.

    Of an enclave-key the bytes are the seed that enclaves' first keys are derived from, which never leaves the CAS, and
    ``rings`` has the keys of those that exchanged theirs (:mod:`adyton.cas.releasing.keyring`). Of a certificate that
    was given without its key they are empty.
    """

    kind: str
    value: Secret[bytes]
    certificate: bytes = b""
    issuers: bytes = b""
    rings: Mapping[str, KeyRing] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Material:
    """All keys and secrets of a session, by name.

    ``activations``: how often the part of each service that limits it was released. ``line``: what became of the
    session's enclave, where a successor may take its place.
    """

    volume_keys: Mapping[str, Secret[bytes]] = field(default_factory=dict)
    secrets: Mapping[str, SecretValue] = field(default_factory=dict)
    activations: Mapping[str, int] = field(default_factory=dict)
    line: Line = field(default_factory=Line)

    def to_plain(self) -> dict[str, Any]:
        """As JSON values, for encryption only."""
        return {
            "volumes": {name: key.reveal().hex() for name, key in self.volume_keys.items()},
            "secrets": {
                name: {
                    "kind": item.kind,
                    "value": item.value.reveal().hex(),
                    "certificate": item.certificate.decode(),
                    "issuers": item.issuers.decode(),
                    **({"rings": {of: ring.to_plain() for of, ring in item.rings.items()}} if item.rings else {}),
                }
                for name, item in self.secrets.items()
            },
            "activations": dict(self.activations),
            **({"line": self.line.to_plain()} if self.line != Line() else {}),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Material:
        """The inverse of :meth:`to_plain`; the input was authenticated by decryption.

        Rows of the first edition have neither issuers nor activations; without exchanged keys there are no rings, and
        without approvals there is no line.
        """
        return cls(
            {name: Secret(bytes.fromhex(key)) for name, key in plain["volumes"].items()},
            {
                name: SecretValue(
                    item["kind"],
                    Secret(bytes.fromhex(item["value"])),
                    item["certificate"].encode(),
                    item.get("issuers", "").encode(),
                    {of: KeyRing.from_plain(ring) for of, ring in item.get("rings", {}).items()},
                )
                for name, item in plain["secrets"].items()
            },
            dict(plain.get("activations", {})),
            Line.from_plain(plain.get("line", {})),
        )


def enclave_keys(name: str, item: SecretValue) -> EnclaveKeys:
    """The keys in the enclave-key secret ``name``."""
    return EnclaveKeys(name, item.value, item.rings)


def with_enclave_keys(material: Material, keys: EnclaveKeys) -> Material:
    """The material with other keys in one enclave-key secret."""
    item = replace(material.secrets[keys.name], value=keys.seed, rings=keys.rings)
    return replace(material, secrets={**material.secrets, keys.name: item})


def with_new_seeds(material: Material) -> Material:
    """The material with another random seed for every enclave-key: nobody can have the keys of the old ones again."""
    values = {
        name: replace(item, value=Secret(secrets.token_bytes(_SEED_BYTES)), rings={})
        if item.kind == "enclave-key"
        else item
        for name, item in material.secrets.items()
    }
    return replace(material, secrets=values)


def make_material(session: Session, now: datetime, previous: Session | None, kept: Material) -> Material:
    """The material of a new or updated session.

    Volume keys are kept by name, and activations by the service's; secrets are kept when neither their definition nor
    what they are made of changed, and made anew otherwise.

    Raises:
        SessionError: a given value that is not of its kind.
    """
    before = {definition.name: definition for definition in previous.secrets} if previous else {}
    values: dict[str, SecretValue] = {}
    remade: set[str | None] = set()
    for index, definition in sorted(enumerate(session.secrets), key=lambda item: _rank(item[1])):
        if before.get(definition.name) == definition and remade.isdisjoint(_made_of(definition)):
            values[definition.name] = kept.secrets[definition.name]
            continue
        remade.add(definition.name)
        values[definition.name] = _make(definition, f"secrets[{index}]", values, now)
    volumes = {
        volume.name: kept.volume_keys.get(volume.name) or Secret(secrets.token_bytes(VOLUME_KEY_BYTES))
        for volume in session.volumes
    }
    counted = {
        service.name: kept.activations[service.name] for service in session.services if service.name in kept.activations
    }
    return Material(volumes, values, counted, kept.line)


def _rank(definition: SecretDefinition) -> int:
    """Keys first, then the authorities over them, then what these issue."""
    return {"x509-ca": 1, "x509": 2}.get(definition.kind, 0)


def _made_of(definition: SecretDefinition) -> set[str | None]:
    match definition:
        case X509CaSecret():
            return {definition.private_key} - {None}
        case X509Secret():
            return {definition.private_key, definition.issuer} - {None}
        case _:
            return set()


def _make(definition: SecretDefinition, path: str, values: Mapping[str, SecretValue], now: datetime) -> SecretValue:
    match definition:
        case AsciiSecret():
            return SecretValue("ascii", Secret(_ascii(definition, f"{path}.value")))
        case BinarySecret():
            return SecretValue("binary", Secret(_binary(definition, f"{path}.value")))
        case EnclaveKeySecret():
            return SecretValue("enclave-key", Secret(secrets.token_bytes(_SEED_BYTES)))
        case PrivateKeySecret():
            key = new_key() if definition.value is None else read_key(definition.value, f"{path}.value")
            return SecretValue("private-key", Secret(key))
        case X509CaSecret() | X509Secret():
            return _certificate(definition, path, values, now)


def _certificate(
    definition: CertificateDefinition, path: str, values: Mapping[str, SecretValue], now: datetime
) -> SecretValue:
    own = definition.private_key
    if definition.value is not None:
        key = values[own].value if own is not None else Secret(b"")
        if isinstance(definition, X509CaSecret):
            return SecretValue("x509-ca", key, read_authority(definition.value, key.reveal(), f"{path}.value"))
        return SecretValue("x509", key, *read_chain(definition.value, key.reveal(), f"{path}.value"))
    key = values[own].value if own is not None else Secret(new_key())
    above = values[definition.issuer] if isinstance(definition, X509Secret) and definition.issuer is not None else None
    signer = None if above is None else (above.certificate, above.value.reveal())
    made = make_certificate(definition, key.reveal(), path, now, signer)
    return SecretValue(definition.kind, key, made, b"" if above is None else above.certificate)


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
