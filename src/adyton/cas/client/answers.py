"""What a CAS answers, decoded. The CAS is attested, but an answer is still bytes from outside.

Light on purpose, as :mod:`adyton.cas.client.enclaves`, whose part this is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.cas.face.identity import IdentityProof
from adyton.enclave.errors import ManifestError
from adyton.enclave.successors import UpgradePolicy

NONCE_BYTES: Final = 32
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Volume:
    """A protected volume of the service: where it is mounted and the key that encrypts it."""

    path: str
    key: Secret[bytes]


@dataclass(frozen=True, slots=True)
class InjectedFile:
    """A file to put into the enclave before the command starts.

    ``bound``: the CAS says that only this measurement can get this content, and that the session's owner cannot.
    """

    path: str
    content: Secret[bytes]
    bound: bool = False


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What a service of a session gets after attestation.

    Attributes:
        command: command line, to be split as a POSIX shell would, never given to a shell.
        pwd: working directory.
        environment: the whole environment of the session for this service.
        volumes: name to mount path and key.
        files: files to inject.
        ca: PEM of the CAS's root certificate.
        certificate: PEM of the short-lived identity certificate over ``private_key``.
        private_key: PKCS#8 PEM of the key that was attested.
        upgrade: who may approve a successor of the session's enclave; None: nobody.
        activation: what to show when the identity is renewed, so that it is no new activation; empty: nothing.
    """

    command: str = field(repr=False)
    pwd: str
    environment: Mapping[str, str] = field(repr=False)
    volumes: Mapping[str, Volume]
    files: tuple[InjectedFile, ...]
    ca: str
    certificate: str
    private_key: Secret[bytes]
    upgrade: UpgradePolicy | None = None
    activation: Secret[str] = field(default_factory=lambda: Secret(""))


@dataclass(frozen=True, slots=True)
class EnclaveKeys:
    """The keys of this enclave in one enclave-key secret.

    Attributes:
        generation: number of the key that holds.
        key: that key, 32 bytes.
        pending_generation: number of the pending key; 0 where none is.
        pending: the key of an exchange that was begun and neither committed nor aborted.
        entry: number of the entry in the CAS's audit log about the step that was answered.
        entry_hash: hash of that entry, hex.
        upgrade: who may approve a successor of the session's enclave; None: nobody.
    """

    generation: int
    key: Secret[bytes]
    pending_generation: int
    pending: Secret[bytes] | None
    entry: int
    entry_hash: str
    upgrade: UpgradePolicy | None = None


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A stored session: its name and its hash, which an update names as ``predecessor``.

    Attributes:
        version: number of the stored version; of use to people only.
        salt: what the hash was made with, hex; empty in a list.
        creator: key hash of who created it; only where it was read.
        expiry: when it ends, as its document says; only in a list.
        document: what was posted, without the values of its secrets; only where it was read.
        line: what became of its enclave (UpgradeAnswer of :mod:`adyton.cas.wire`); only where it was read, and where
            the session has an upgrade policy.
    """

    name: str
    hash: str
    document: Mapping[str, Any] | None = field(default=None, repr=False)
    version: int = 0
    salt: str = ""
    creator: str = ""
    expiry: str | None = None
    line: Mapping[str, Any] | None = field(default=None, repr=False)


def decode(decoder: Callable[..., Any], answer: Any, *more: Any) -> Any:  # noqa: ANN401  # JSON is any
    """What ``decoder`` makes of an answer.

    Raises:
        UnavailableError: ``cas.answer``: the answer is not what it must be.
    """
    try:
        return decoder(answer, *more)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        name = decoder.__name__.removeprefix("read_").replace("_", " ")
        raise UnavailableError(
            f"the CAS's {name} cannot be understood: {type(error).__name__}", code="cas.answer"
        ) from None


def read_nonce(answer: Any) -> bytes:  # noqa: ANN401
    """The answer of ``GET /v1/nonce``."""
    nonce = bytes.fromhex(answer["nonce"])
    if len(nonce) != NONCE_BYTES:
        raise ValueError("length of the nonce")
    return nonce


def read_identity_proof(answer: Any) -> IdentityProof:  # noqa: ANN401
    """The answer of ``GET /attestation``."""
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415

    certificate, authority = (
        load_pem_x509_certificate(answer[name].encode()).public_bytes(Encoding.DER) for name in ("certificate", "ca")
    )
    return IdentityProof(certificate, authority)


def read_session_info(answer: Any) -> SessionInfo:  # noqa: ANN401
    """The answer of ``POST /session`` and ``GET /session/<name>``, decoded already."""

    def session(value: Any) -> SessionInfo:  # noqa: ANN401
        return SessionInfo(
            _text(value["name"]),
            _text(value["hash"]),
            value.get("document"),
            version=int(value.get("version", 0)),
            salt=_text(value.get("salt", "")),
            creator=_text(value.get("creator", "")),
            expiry=None if value.get("expiry") is None else _text(value["expiry"]),
            line=value.get("upgrade"),
        )

    info: SessionInfo = decode(session, answer)
    return info


def read_line(answer: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """The answer of ``/v1/session/<name>/upgrade``."""
    for name in ("first", "current"):
        _text(answer[name])
    for name in ("steps", "approvals"):
        _list(answer[name])
    line: Mapping[str, Any] = answer
    return line


def read_page(answer: Any) -> tuple[list[SessionInfo], str]:  # noqa: ANN401
    """A page of ``GET /session`` and the cursor of the next one."""
    following = _text(answer["next"])
    if not following.isalnum() and following:
        raise ValueError("cursor of a page")
    return [read_session_info(entry) for entry in _list(answer["sessions"])], following


def read_service_config(answer: Any, key: ec.EllipticCurvePrivateKey) -> ServiceConfig:  # noqa: ANN401
    """The answer of ``POST /v1/config``; ``key`` is the attested one."""
    return ServiceConfig(
        command=_text(answer["command"]),
        pwd=_text(answer["pwd"]),
        environment={_text(name): _text(value) for name, value in answer["environment"].items()},
        volumes={
            _text(name): Volume(_text(entry["path"]), _key(entry["key"])) for name, entry in answer["volumes"].items()
        },
        files=tuple(
            InjectedFile(
                _text(entry["path"]),
                Secret(base64.b64decode(entry["content"], validate=True)),
                bound=entry.get("bound") is True,
            )
            for entry in _list(answer["files"])
        ),
        ca=_text(answer["ca"]),
        certificate=_text(answer["certificate"]),
        private_key=Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
        upgrade=_upgrade(answer.get("upgrade")),
        activation=Secret(_text(answer.get("activation", ""))),
    )


def read_enclave_keys(answer: Any) -> EnclaveKeys:  # noqa: ANN401
    """The answer of ``POST /v1/enclave-key``."""
    current, pending = answer["current"], answer["pending"]
    return EnclaveKeys(
        generation=int(current["generation"]),
        key=_key(current["key"]),
        pending_generation=0 if pending is None else int(pending["generation"]),
        pending=None if pending is None else _key(pending["key"]),
        entry=int(answer["entry"]),
        entry_hash=_text(answer["hash"]),
        upgrade=_upgrade(answer.get("upgrade")),
    )


def _upgrade(value: Any) -> UpgradePolicy | None:  # noqa: ANN401
    if value is None:
        return None
    try:
        return UpgradePolicy(tuple(sorted(_list(value["approvers"]))), value["threshold"])
    except ManifestError as error:
        raise ValueError(error.message) from error


def _text(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value


def _list(value: Any) -> list[Any]:  # noqa: ANN401
    if not isinstance(value, list):
        raise TypeError("list expected")
    return value


def _key(text: str) -> Secret[bytes]:
    key = bytes.fromhex(text)
    if len(key) != _KEY_BYTES:
        raise ValueError("length of a key")
    return Secret(key)
