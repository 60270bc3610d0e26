"""The session language: what a CAS keeps for its owners, and under which conditions it hands out which part.

The shape is SCONE's session language 0.3 as iExec's SMS writes it, in a strict subset: unknown keys and wrong types
are refused with the path of the offending element, never ignored, because a misspelt restriction must not silently be
none. Additions of ours: ``expiry``, and ``predecessor`` on update.

Session hash: ``SHA-256(bind("adyton/cas/session/1", salt, canonical_json(document)))`` where ``document`` is the
validated document with its defaults filled in, ``bind`` is :func:`adyton.base.aead.bind` and ``salt`` are 16 random
bytes that the CAS makes for each version. The salt keeps the hash, which is logged, from confirming guesses of a
short secret in the document; who may read the session gets the salt and can recompute the hash.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from adyton.attestation.policy import Weakness
from adyton.base.aead import bind
from adyton.base.canonical import canonical_json
from adyton.base.errors import InputError
from adyton.cas.yamltree import load_tree

_HASH_DOMAIN: Final = b"adyton/cas/session/1"
_MAX_VALUE: Final = 64 << 10  # characters of one environment value, command or template


class SessionError(InputError):
    """The session document is refused; the message starts with the path of the offending element."""

    code = "cas.session.invalid"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"session document: {path}: {reason}")
        self.path = path


def _absolute_path(value: str) -> str:
    if not value.startswith("/") or "\0" in value or posixpath.normpath(value) != value or value.startswith("//"):
        raise ValueError("must be an absolute path without '.', '..', '//' or a trailing slash")
    return value


def _below_root(value: str) -> str:
    if value == "/":
        raise ValueError("must not be the root folder")
    return value


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    return value


def _hex_lower(value: str) -> str:
    return value.lower()


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError("holds the same entry twice")
    return values


def _timestamp(value: str) -> str:
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a time like 2027-01-31T00:00:00Z") from None
    if parsed.tzinfo is None:
        raise ValueError("must name its time zone, like 2027-01-31T00:00:00Z")
    return value


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$"), AfterValidator(_hex_lower)]
Path = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_absolute_path)]
MountPath = Annotated[Path, AfterValidator(_below_root)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,255}$")]
Template = Annotated[str, StringConstraints(max_length=_MAX_VALUE), AfterValidator(_no_nul)]
Principal = Annotated[str, StringConstraints(pattern=r"^(?:CREATOR|NONE|ANY|[0-9a-f]{64})$")]
Advisory = Annotated[str, StringConstraints(pattern=r"^(?:\*|INTEL-SA-[0-9]{5})$")]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


class Service(_Model):
    """One program of the session and the enclaves that may be it. A null environment value means: not set."""

    name: Name
    image_name: Name | None = None
    mrenclaves: Annotated[tuple[Hex32, ...], Field(min_length=1, max_length=32), AfterValidator(_unique)]
    command: Template = Field(default="", repr=False)
    pwd: Path = "/"  # noqa: S105  # the working directory
    environment: dict[VariableName, Template | None] = Field(default_factory=dict, max_length=2048, repr=False)


class Mount(_Model):
    """Where an image mounts a volume of the session."""

    name: Name
    path: MountPath


class InjectionFile(_Model):
    """A file put into the enclave; ``content`` may name secrets."""

    path: MountPath
    content: Annotated[str, StringConstraints(max_length=1 << 20)] = Field(repr=False)


class Image(_Model):
    """What the services that name it find mounted and injected."""

    name: Name
    volumes: tuple[Mount, ...] = Field(default=(), max_length=32)
    injection_files: tuple[InjectionFile, ...] = Field(default=(), max_length=64)


class VolumeDefinition(_Model):
    """A protected volume: the CAS makes its key, once for the session."""

    name: Name


class _Secret(_Model):
    name: Name
    value: Annotated[str, StringConstraints(max_length=_MAX_VALUE)] | None = Field(default=None, repr=False)


class AsciiSecret(_Secret):
    """Printable text; generated: ``size`` letters and digits (5.95 bits each)."""

    kind: Literal["ascii"]
    size: Annotated[int, Field(ge=8, le=4096)] = 32


class BinarySecret(_Secret):
    """Bytes, given as hex; generated: ``size`` random bytes."""

    kind: Literal["binary"]
    size: Annotated[int, Field(ge=1, le=4096)] = 32


class PrivateKeySecret(_Secret):
    """A private key, given as unencrypted PEM; generated: P-256."""

    kind: Literal["private-key"]


class EnclaveKeySecret(_Model):
    """A 32-byte key of the asking enclave: every MRENCLAVE gets another one, so no session's owner can learn it.

    Nobody gives it and no other enclave can be given it, whatever the session is changed to: what an enclave keeps
    under such a key stays closed to its operator and to every other build.
    """

    name: Name
    kind: Literal["enclave-key"]


class X509Secret(_Model):
    """A self-signed certificate for ``common_name`` and ``dns``, over a private-key secret or a key of its own."""

    name: Name
    kind: Literal["x509"]
    private_key: Name | None = None
    common_name: Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,64}$")] | None = None
    dns: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.*-]{1,253}$")], ...] = Field(
        default=(), max_length=16
    )


SecretDefinition = Annotated[
    AsciiSecret | BinarySecret | EnclaveKeySecret | PrivateKeySecret | X509Secret, Field(discriminator="kind")
]


class AccessPolicy(_Model):
    """Who may read and who may update: CREATOR, NONE, ANY, or the SHA-256 of a client's public key (SPKI, hex)."""

    read: Annotated[tuple[Principal, ...], Field(max_length=32), AfterValidator(_unique)] = ("CREATOR",)
    update: Annotated[tuple[Principal, ...], Field(max_length=32), AfterValidator(_unique)] = ("CREATOR",)


class Attestation(_Model):
    """Which weaknesses the owner accepts; ``mode`` and ``url`` are known for compatibility.

    Both accepted modes are verified here, with DCAP, in the same way; there is no mode without attestation.
    """

    tolerate: Annotated[tuple[str, ...], Field(max_length=16), AfterValidator(_unique)] = ()
    ignore_advisories: Annotated[tuple[Advisory, ...], Field(max_length=256), AfterValidator(_unique)] = ()
    mode: Literal["hardware", "maa"] = "hardware"
    url: Annotated[str, StringConstraints(max_length=1024)] | None = None


class Security(_Model):
    """Section ``security``."""

    attestation: Attestation = Attestation()


class Session(_Model):
    """A session document. See the module docstring for the language and its hash."""

    name: Name
    version: Annotated[str, StringConstraints(pattern=r"^0\.3(?:\.[0-9]{1,3})?$")]
    predecessor: Hex32 | None = None
    expiry: Annotated[str, AfterValidator(_timestamp)] | None = None
    access_policy: AccessPolicy = AccessPolicy()
    services: tuple[Service, ...] = Field(min_length=1, max_length=32)
    images: tuple[Image, ...] = Field(default=(), max_length=32)
    volumes: tuple[VolumeDefinition, ...] = Field(default=(), max_length=64)
    secrets: tuple[SecretDefinition, ...] = Field(default=(), max_length=256, repr=False)
    security: Security = Security()

    @property
    def expires_at(self) -> datetime | None:
        """When the session ends, UTC; None: never."""
        return None if self.expiry is None else datetime.fromisoformat(self.expiry).astimezone(UTC)

    def service(self, name: str) -> Service | None:
        """The service of that name."""
        return next((service for service in self.services if service.name == name), None)

    def image_of(self, service: Service) -> Image | None:
        """The image that ``service`` names."""
        return next((image for image in self.images if image.name == service.image_name), None)

    def to_document(self) -> dict[str, Any]:
        """The document as plain values with its defaults filled in."""
        return self.model_dump(mode="json")


def parse_session(data: bytes) -> Session:
    """Read a posted document.

    Raises:
        YamlError: not in the accepted subset of YAML.
        SessionError: not in the session language; the message never holds a value of the document.
    """
    return from_document(load_tree(data))


def from_document(document: Any) -> Session:  # noqa: ANN401  # plain values from outside
    """Read a document from plain values, as :meth:`Session.to_document` gives them.

    Raises:
        SessionError: not in the session language.
    """
    try:
        # through JSON: in this mode strict models take arrays for tuples, and the result is immutable
        session = Session.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        reason = first["msg"].removeprefix("Value error, ")
        raise SessionError(_path(first["loc"]), reason) from None
    _check_names(session)
    _check_references(session)
    return session


def session_hash(session: Session, salt: bytes) -> str:
    """The session hash, hex; see the module docstring."""
    return hashlib.sha256(bind(_HASH_DOMAIN, salt, canonical_json(session.to_document()))).hexdigest()


_KINDS: Final = frozenset({"ascii", "binary", "enclave-key", "private-key", "x509"})
_INDEXED: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


def _path(location: Iterable[str | int]) -> str:
    """``services[0].mrenclaves[1]`` from pydantic's location, without the tags of a discriminated union."""
    text = ""
    for part in location:
        if part in _KINDS or part == "[key]":
            continue
        if isinstance(part, int):
            text += f"[{part}]"
        elif _INDEXED.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{part[:80]!r}]"
    return text or "document"


def _check_names(session: Session) -> None:
    for section in ("services", "images", "volumes", "secrets"):
        _no_repeat(section, "name", (item.name for item in getattr(session, section)))
    for index, image in enumerate(session.images):
        _no_repeat(f"images[{index}].volumes", "name", (mount.name for mount in image.volumes))
        _no_repeat(f"images[{index}].volumes", "path", (mount.path for mount in image.volumes))
        _no_repeat(f"images[{index}].injection_files", "path", (file.path for file in image.injection_files))


def _no_repeat(section: str, member: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            raise SessionError(f"{section}[{index}].{member}", f"{value!r} is used twice")
        seen.add(value)


def _check_references(session: Session) -> None:
    images = {image.name for image in session.images}
    volumes = {volume.name for volume in session.volumes}
    keys = {secret.name for secret in session.secrets if isinstance(secret, PrivateKeySecret)}
    for index, service in enumerate(session.services):
        if service.image_name is not None and service.image_name not in images:
            raise SessionError(f"services[{index}].image_name", f"no image is named {service.image_name!r}")
    for index, image in enumerate(session.images):
        for place, mount in enumerate(image.volumes):
            if mount.name not in volumes:
                raise SessionError(f"images[{index}].volumes[{place}].name", f"no volume is named {mount.name!r}")
    for index, secret in enumerate(session.secrets):
        if isinstance(secret, X509Secret) and secret.private_key is not None and secret.private_key not in keys:
            raise SessionError(f"secrets[{index}].private_key", f"no private-key is named {secret.private_key!r}")
    known = set(Weakness)
    for index, name in enumerate(session.security.attestation.tolerate):
        if name not in known:
            raise SessionError(
                f"security.attestation.tolerate[{index}]", f"{name[:80]!r} is not one of {', '.join(sorted(known))}"
            )
