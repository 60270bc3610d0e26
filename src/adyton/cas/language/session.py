"""The session language: what a CAS keeps for its owners, and under which conditions it hands out which part.

The shape is SCONE's session language 0.3 as iExec's SMS writes it, in a strict subset: unknown keys and wrong types
are refused with the path of the offending element, never ignored, because a misspelt restriction must not silently be
none. Additions of ours: ``expiry``, ``predecessor`` on update, ``max_activations`` of a service, ``tiers`` of the
attestation policy, and secrets of the kind ``enclave-key``. The reference is docs/cas.md.

Session hash: ``SHA-256(bind("adyton/cas/session/1", salt, canonical_json(document)))`` where ``document`` is the
validated document with its defaults filled in (:class:`~adyton.cas.language.scalars.Part` says which not), ``bind`` is
:func:`adyton.base.aead.bind` and ``salt`` are 16 random bytes that the CAS makes for each version. The salt keeps the
hash, which is logged, from confirming guesses of a short secret in the document; who may read the session gets the
salt and can recompute the hash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.policy import Weakness
from adyton.base.aead import bind
from adyton.base.canonical import canonical_json
from adyton.base.errors import InputError
from adyton.cas.language.scalars import (
    Advisory,
    Hex32,
    MountPath,
    Name,
    Part,
    Path,
    Principal,
    SessionError,
    Template,
    Timestamp,
    VariableName,
    unique,
)
from adyton.cas.language.secretkinds import (
    KINDS,
    MAX_CERTIFICATES,
    MAX_GIVEN_KEYS,
    EnclaveKeySecret,
    PrivateKeySecret,
    SecretDefinition,
    X509CaSecret,
    X509Secret,
)
from adyton.cas.language.yamltree import load_tree
from adyton.cas.releasing.upgrade import Upgrade

__all__ = [
    "AccessPolicy",
    "Attestation",
    "Image",
    "InjectionFile",
    "Mount",
    "Security",
    "Service",
    "Session",
    "SessionError",
    "VolumeDefinition",
    "allows",
    "from_document",
    "parse_session",
    "session_hash",
]

_HASH_DOMAIN: Final = b"adyton/cas/session/1"


class Service(Part):
    """One program of the session and the enclaves that may be it. A null environment value means: not set.

    ``max_activations``: how often its part is released, ever; None: without limit. Each start of an enclave
    counts, the renewals of its identity do not, and an update of the session does not start anew.
    """

    later = frozenset({"max_activations"})

    name: Name
    image_name: Name | None = None
    mrenclaves: Annotated[tuple[Hex32, ...], Field(min_length=1, max_length=32), AfterValidator(unique)]
    command: Template = Field(default="", repr=False)
    pwd: Path = "/"  # noqa: S105  # the working directory
    environment: dict[VariableName, Template | None] = Field(default_factory=dict, max_length=2048, repr=False)
    max_activations: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class Mount(Part):
    """Where an image mounts a volume of the session."""

    name: Name
    path: MountPath


class InjectionFile(Part):
    """A file put into the enclave; ``content`` may name secrets."""

    path: MountPath
    content: Annotated[str, StringConstraints(max_length=1 << 20)] = Field(repr=False)


class Image(Part):
    """What the services that name it find mounted and injected."""

    name: Name
    volumes: tuple[Mount, ...] = Field(default=(), max_length=32)
    injection_files: tuple[InjectionFile, ...] = Field(default=(), max_length=64)


class VolumeDefinition(Part):
    """A protected volume: the CAS makes its key, once for the session."""

    name: Name


class AccessPolicy(Part):
    """Who may read and who may update: CREATOR, NONE, ANY, or the SHA-256 of a client's public key (SPKI, hex)."""

    read: Annotated[tuple[Principal, ...], Field(max_length=32), AfterValidator(unique)] = ("CREATOR",)
    update: Annotated[tuple[Principal, ...], Field(max_length=32), AfterValidator(unique)] = ("CREATOR",)


class Attestation(Part):
    """Which weaknesses the owner accepts; ``mode`` and ``url`` are known for compatibility.

    Both accepted modes are verified here, with DCAP, in the same way; there is no mode without attestation.

    ``tiers``: the trust anchors under which evidence is accepted, of those that the CAS accepts: a session can ask for
    fewer, never for more. Empty: all of the CAS's.
    """

    later = frozenset({"tiers"})

    tolerate: Annotated[tuple[str, ...], Field(max_length=16), AfterValidator(unique)] = ()
    ignore_advisories: Annotated[tuple[Advisory, ...], Field(max_length=256), AfterValidator(unique)] = ()
    mode: Literal["hardware", "maa"] = "hardware"
    url: Annotated[str, StringConstraints(max_length=1024)] | None = None
    tiers: Annotated[tuple[str, ...], Field(max_length=8), AfterValidator(unique)] = ()


class Security(Part):
    """Section ``security``."""

    attestation: Attestation = Attestation()


class Session(Part):
    """A session document. See the module docstring for the language and its hash.

    ``upgrade``: who may approve a successor of the session's one enclave; see :mod:`adyton.cas.releasing.upgrade`.
    """

    later = frozenset({"upgrade"})

    name: Name
    version: Annotated[str, StringConstraints(pattern=r"^0\.3(?:\.[0-9]{1,3})?$")]
    predecessor: Hex32 | None = None
    expiry: Timestamp | None = None
    access_policy: AccessPolicy = AccessPolicy()
    services: tuple[Service, ...] = Field(min_length=1, max_length=32)
    images: tuple[Image, ...] = Field(default=(), max_length=32)
    volumes: tuple[VolumeDefinition, ...] = Field(default=(), max_length=64)
    secrets: tuple[SecretDefinition, ...] = Field(default=(), max_length=256, repr=False)
    security: Security = Security()
    upgrade: Upgrade | None = None

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
    _check_secrets(session)
    _check_attestation(session.security.attestation)
    _check_upgrade(session)
    return session


def allows(principals: Iterable[str], client: str, creator: str) -> bool:
    """Whether a list of an access policy names ``client``. NONE names nobody, whatever stands beside it."""
    names = set(principals)
    if "NONE" in names:
        return False
    return "ANY" in names or client in names or ("CREATOR" in names and client == creator)


def session_hash(session: Session, salt: bytes) -> str:
    """The session hash, hex; see the module docstring."""
    return hashlib.sha256(bind(_HASH_DOMAIN, salt, canonical_json(session.to_document()))).hexdigest()


_INDEXED: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


def _path(location: Iterable[str | int]) -> str:
    """``services[0].mrenclaves[1]`` from pydantic's location, without the tags of a discriminated union."""
    text = ""
    for place, part in enumerate(location):
        if (place == 2 and part in KINDS) or part == "[key]":  # secrets, index, the tag
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
    for index, service in enumerate(session.services):
        if service.image_name is not None and service.image_name not in images:
            raise SessionError(f"services[{index}].image_name", f"no image is named {service.image_name!r}")
    for index, image in enumerate(session.images):
        for place, mount in enumerate(image.volumes):
            if mount.name not in volumes:
                raise SessionError(f"images[{index}].volumes[{place}].name", f"no volume is named {mount.name!r}")


def _check_secrets(session: Session) -> None:
    keys = {secret.name: secret for secret in session.secrets if isinstance(secret, PrivateKeySecret)}
    authorities = {secret.name: secret for secret in session.secrets if isinstance(secret, X509CaSecret)}
    if sum(key.value is not None for key in keys.values()) > MAX_GIVEN_KEYS:
        raise SessionError("secrets", f"more than {MAX_GIVEN_KEYS} private keys are given")
    if sum(isinstance(secret, X509CaSecret | X509Secret) for secret in session.secrets) > MAX_CERTIFICATES:
        raise SessionError("secrets", f"more than {MAX_CERTIFICATES} certificates")
    for index, secret in enumerate(session.secrets):
        if not isinstance(secret, X509CaSecret | X509Secret):
            continue
        if secret.private_key is not None and secret.private_key not in keys:
            raise SessionError(f"secrets[{index}].private_key", f"no private-key is named {secret.private_key!r}")
        if isinstance(secret, X509Secret) and secret.issuer is not None:
            _check_issuer(f"secrets[{index}].issuer", secret.issuer, authorities.get(secret.issuer))


def _check_issuer(path: str, name: str, authority: X509CaSecret | None) -> None:
    if authority is None:
        raise SessionError(path, f"no x509-ca is named {name!r}")
    if authority.value is not None and authority.private_key is None:
        raise SessionError(path, f"the x509-ca {name!r} is given without its private_key, so it can issue nothing")


def _check_attestation(attestation: Attestation) -> None:
    known = set(Weakness)
    for index, name in enumerate(attestation.tolerate):
        if name not in known:
            raise SessionError(
                f"security.attestation.tolerate[{index}]", f"{name[:80]!r} is not one of {', '.join(sorted(known))}"
            )
    for index, tier in enumerate(attestation.tiers):
        try:
            TrustAnchor(tier)
        except InputError as error:
            raise SessionError(f"security.attestation.tiers[{index}]", error.hint) from None


def _check_upgrade(session: Session) -> None:
    """A session whose enclave may have a successor is one line of enclaves, with keys of theirs and nothing else."""
    if session.upgrade is None:
        return
    first = session.services[0].mrenclaves[0]
    for index, service in enumerate(session.services):
        if service.mrenclaves != (first,):
            raise SessionError(
                f"services[{index}].mrenclaves", "with 'upgrade' all services list one and the same enclave"
            )
    if session.volumes:
        raise SessionError("volumes[0]", "a session with 'upgrade' has no volumes: their keys are bound to no enclave")
    for index, secret in enumerate(session.secrets):
        if not isinstance(secret, EnclaveKeySecret):
            raise SessionError(f"secrets[{index}].kind", "a session with 'upgrade' has secrets of enclave-key only")
    if Weakness.DEBUG_MODE in session.security.attestation.tolerate:
        raise SessionError("security.attestation.tolerate", "a session with 'upgrade' does not tolerate debug-mode")
