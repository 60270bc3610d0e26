"""The enclave manifest: everything about an enclave that its owner decides, in one canonical JSON document.

Its bytes are measured pages (``measure.py``), and it lists the SHA-256 of every file of the image, so MRENCLAVE covers
the whole root file system. Fields are named so that they translate to a Gramine manifest (``loader.entrypoint`` and
``loader.argv`` are ``runtime`` and ``argv``, ``sgx.trusted_files`` is ``trusted_files``, ``fs.mounts`` of type
``encrypted`` are ``volumes``, ``loader.env.X.passthrough`` is ``host_environment``).

Parsing is by hand, without a validation library: the agent inside every enclave reads this document, and its start-up
time is part of every task.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final

from adyton.base.canonical import canonical_json
from adyton.base.errors import InputError
from adyton.base.jsontext import parse_json
from adyton.enclave.errors import ManifestError
from adyton.enclave.successors import UpgradePolicy

ADYTON_FOLDER: Final = "/.adyton"
MANIFEST_PATH: Final = "/.adyton/manifest.json"
SIGSTRUCT_PATH: Final = "/.adyton/sigstruct.bin"
RUNTIME_PREFIX: Final = "/.adyton/runtime/"
VOLUMES_FOLDER: Final = "/.adyton/volumes"
RUN_FOLDER: Final = "/.adyton/run"
UNMEASURED_PATHS: Final = frozenset({MANIFEST_PATH, SIGSTRUCT_PATH})

MAX_MANIFEST_BYTES: Final = 32 << 20  # 32 MiB: about 200,000 files
MAX_TRUSTED_FILES: Final = 200_000
MAX_HEAP_BYTES: Final = 64 << 30
MAX_STACK_BYTES: Final = 64 << 20
MAX_STACKS_BYTES: Final = 2 << 30  # of all threads: every byte is measured, so this bounds how long a start can take
MAX_THREADS: Final = 256
PAGE: Final = 4096

_FORMAT: Final = "adyton-enclave-1"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ANCHOR = re.compile(r"intel|sim:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class TrustedFile:
    """A regular file: lowercase hex SHA-256 of its content, and whether its owner may execute it."""

    sha256: str
    executable: bool = False


@dataclass(frozen=True, slots=True)
class TrustedLink:
    """A symbolic link and the exact text of its target."""

    link: str


TrustedEntry = TrustedFile | TrustedLink


@dataclass(frozen=True, slots=True)
class CasPolicy:
    """Which CAS this enclave accepts its configuration from: trust anchor and accepted MRENCLAVEs (hex)."""

    anchor: str
    mrenclaves: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the enclave is.

    Attributes:
        name: for people; measured like everything else.
        argv: the command when ``config`` is ``none``, and when the session names none.
        cwd: absolute working directory of the command.
        environment: variables of the command; a session's and (where listed) the host's come on top.
        host_environment: names the untrusted host may set.
        host_paths: absolute paths where the host may mount its own folders (or files), unprotected; a folder must not
            have measured files in it.
        volumes: protected volume name to the absolute path where its plaintext appears.
        network: whether the enclave has the host's network; without it only the CAS is reachable, through a relay.
        heap_bytes: enclave heap, whole pages.
        stack_bytes: stack per thread, whole pages.
        threads: thread control structures.
        debug: a debug enclave's memory can be read by its host; never for real secrets.
        isvprodid: product number (u16).
        isvsvn: security version (u16).
        config: ``cas``: command, environment and keys come from an attested CAS; ``none``: from here.
        cas: accepted CAS; None accepts the CAS that the host names, which then knows what it configures.
        closed: the command, its folder and its environment are the measured ones, whatever a session says; the CAS
            gives it only files that this measurement alone can get. For services whose operator owns the session.
        upgrade: who may approve a successor of a closed enclave; it refuses a session that says otherwise. None: nobody
            may, its keys stay closed to every other measurement; such a manifest does not have this member.
        evidence: the command of a closed enclave may have reports and quotes over data of its own, to prove to others
            what it is; its agent makes them for that one process. Seal keys are not among it. A manifest that does not
            say so does not have this member.
        anchors: trust anchors (``intel``, ``sim:<sha256>``) the enclave accepts for evidence of others.
        tmpfs: writable folders that live in enclave memory: path to size in bytes.
        runtime: argument vector of the measured agent that starts first.
        trusted_files: every file and link of the image but the manifest and SIGSTRUCT themselves.
    """

    name: str
    argv: tuple[str, ...]
    runtime: tuple[str, ...]
    trusted_files: Mapping[str, TrustedEntry]
    cwd: str = "/"
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    host_environment: tuple[str, ...] = ()
    host_paths: tuple[str, ...] = ()
    volumes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    network: bool = False
    heap_bytes: int = 1 << 30
    stack_bytes: int = 8 << 20
    threads: int = 4
    debug: bool = False
    isvprodid: int = 0
    isvsvn: int = 0
    config: str = "cas"
    cas: CasPolicy | None = None
    closed: bool = False
    upgrade: UpgradePolicy | None = None
    evidence: bool = False
    anchors: tuple[str, ...] = ()
    tmpfs: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({"/tmp": 256 << 20}))  # noqa: S108  # path inside the enclave

    def __post_init__(self) -> None:
        for check in _RULES:
            check(self)

    def to_json(self) -> bytes:
        """The canonical bytes: what is stored at ``/.adyton/manifest.json`` and measured.

        Raises:
            ManifestError: a text that is not Unicode (half a surrogate pair), or a number beyond JSON's.
        """
        document: dict[str, Any] = {"format": _FORMAT}
        for item in fields(self):
            document[item.name] = _plain(getattr(self, item.name))
        for name, absent in _OPTIONAL.items():
            if getattr(self, name) == absent:
                del document[name]
        try:
            return canonical_json(document)
        except (InputError, UnicodeEncodeError) as error:
            raise ManifestError(f"the manifest cannot be written: {error}") from error

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Parse and validate; only the canonical form is accepted, so one manifest has one measurement.

        Raises:
            ManifestError: too large, not JSON, unknown or missing members, a value out of range, or not canonical.
        """
        if len(data) > MAX_MANIFEST_BYTES:
            raise ManifestError(f"the manifest has {len(data)} bytes; the limit is {MAX_MANIFEST_BYTES}")
        try:
            document = parse_json(data)
        except (ValueError, RecursionError) as error:
            raise ManifestError("the manifest is not JSON") from error
        manifest = _build(document)
        if manifest.to_json() != data:
            raise ManifestError("the manifest is not in canonical form", code="enclave.manifest.canonical")
        return manifest


def _plain(value: Any) -> Any:  # noqa: ANN401  # JSON is any
    match value:
        case TrustedFile():
            return {"executable": value.executable, "sha256": value.sha256}
        case TrustedLink():
            return {"link": value.link}
        case CasPolicy() | UpgradePolicy():
            return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
        case tuple():
            return list(value)
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return value


def _build(document: Any) -> Manifest:  # noqa: ANN401
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise ManifestError(f"the manifest is not of format {_FORMAT}", code="enclave.manifest.format")
    members = dict(_OPTIONAL) | {key: value for key, value in document.items() if key != "format"}
    names = {item.name for item in fields(Manifest)}
    if members.keys() != names:
        different = ", ".join(sorted(members.keys() ^ names))
        raise ManifestError(f"the manifest has unknown or lacks these members: {different}")
    for name, kind in _JSON_TYPES.items():
        if not isinstance(members[name], kind) or (kind is int and isinstance(members[name], bool)):
            raise ManifestError(f"the manifest's {name} is not of type {kind.__name__}")
        if kind is list:
            members[name] = tuple(members[name])
    try:
        members["trusted_files"] = {path: _entry(path, item) for path, item in members["trusted_files"].items()}
        members["cas"] = _cas(members["cas"])
        members["upgrade"] = None if members["upgrade"] is None else UpgradePolicy.from_plain(members["upgrade"])
        return Manifest(**members)
    except InputError as error:
        raise ManifestError(str(error)) from error


_JSON_TYPES: Final[Mapping[str, type]] = {
    "name": str, "argv": list, "runtime": list, "trusted_files": dict, "cwd": str, "environment": dict,
    "host_environment": list, "host_paths": list, "volumes": dict, "network": bool, "heap_bytes": int,
    "stack_bytes": int, "threads": int, "debug": bool, "isvprodid": int, "isvsvn": int, "config": str,
    "closed": bool, "anchors": list, "tmpfs": dict, "evidence": bool,
}  # fmt: skip
_OPTIONAL: Final[Mapping[str, Any]] = {"upgrade": None, "evidence": False}  # members that are left out at these values


def _entry(path: str, item: Any) -> TrustedEntry:  # noqa: ANN401
    if isinstance(item, dict):
        if item.keys() == {"link"} and isinstance(item["link"], str):
            return TrustedLink(item["link"])
        if item.keys() == {"executable", "sha256"} and isinstance(item["executable"], bool):
            return TrustedFile(_text(path, item["sha256"]), item["executable"])
    raise ManifestError(f"the manifest's entry of {path!r} is neither a file nor a link")


def _text(path: str, value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise ManifestError(f"the sha256 of {path} is not a text")
    return value


def _cas(item: Any) -> CasPolicy | None:  # noqa: ANN401
    if item is None:
        return None
    if (
        not isinstance(item, dict)
        or item.keys() != {"anchor", "mrenclaves"}
        or not isinstance(item["mrenclaves"], list)
    ):
        raise ManifestError("the manifest's cas is not {anchor, mrenclaves}")
    return CasPolicy(item["anchor"], tuple(item["mrenclaves"]))


def is_plain_path(path: object) -> bool:
    """Whether ``path`` is an absolute path in its one normal form, other than the root."""
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path or len(path) > 4096:
        return False
    return all(part not in ("", ".", "..") for part in path[1:].split("/"))


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise ManifestError(text)


def _check_texts(m: Manifest) -> None:
    _require(0 < len(m.name) <= 256, "the manifest's name is empty or longer than 256 characters")
    for name, vector in (("argv", m.argv), ("runtime", m.runtime)):
        _require(all(isinstance(a, str) and "\0" not in a for a in vector), f"the manifest's {name} is not all text")
    _require(bool(m.runtime), "the manifest's runtime is empty: nothing would start")
    _require(bool(m.argv) or m.config == "cas", "the manifest's argv is empty and no CAS gives a command")
    _require(m.cwd == "/" or is_plain_path(m.cwd), f"the manifest's cwd {m.cwd!r} is not a plain absolute path")
    _require(m.config in ("cas", "none"), f"the manifest's config {m.config!r} is neither cas nor none")
    for anchor in m.anchors:
        _require(isinstance(anchor, str) and bool(_ANCHOR.fullmatch(anchor)), f"{anchor!r} is not a trust anchor")


def _check_cas(m: Manifest) -> None:
    if m.closed:
        _require(m.config == "cas" and bool(m.argv), "a closed manifest needs a command and a CAS")
        _require(m.cas is not None, "a closed manifest must say which CAS it accepts: another could know its keys")
    _require(m.upgrade is None or m.closed, "approvers of a successor are for closed manifests, others keep nothing")
    _require(m.closed or not m.evidence, "evidence is for closed manifests: a session's command could prove anything")
    if m.cas is None:
        return
    _require(isinstance(m.cas.anchor, str) and bool(_ANCHOR.fullmatch(m.cas.anchor)), "cas.anchor is no trust anchor")
    _require(bool(m.cas.mrenclaves), "cas.mrenclaves is empty: no CAS could be accepted")
    for value in m.cas.mrenclaves:
        _require(isinstance(value, str) and bool(_SHA256.fullmatch(value)), f"{value!r} is not an MRENCLAVE")


def _check_environment(m: Manifest) -> None:
    for name, value in m.environment.items():
        _require(bool(_VARIABLE.fullmatch(name)), f"{name!r} is not a variable name")
        _require(isinstance(value, str) and "\0" not in value, f"the value of {name} is not text")
    for name in m.host_environment:
        _require(isinstance(name, str) and bool(_VARIABLE.fullmatch(name)), f"{name!r} is not a variable name")
        _require(not name.startswith("LD_"), f"the host may not set {name}: it changes which code is loaded")


def _check_numbers(m: Manifest) -> None:
    bounds = (
        ("heap_bytes", m.heap_bytes, PAGE, MAX_HEAP_BYTES),
        ("stack_bytes", m.stack_bytes, PAGE, MAX_STACK_BYTES),
        ("threads", m.threads, 1, MAX_THREADS),
        ("isvprodid", m.isvprodid, 0, 0xFFFF),
        ("isvsvn", m.isvsvn, 0, 0xFFFF),
    )
    for name, value, low, high in bounds:
        _require(low <= value <= high, f"the manifest's {name} {value} is not within {low}..{high}")
    stacks = m.threads * m.stack_bytes
    _require(stacks <= MAX_STACKS_BYTES, f"the manifest's stacks of {stacks} bytes are over {MAX_STACKS_BYTES}")
    for name, value in (("heap_bytes", m.heap_bytes), ("stack_bytes", m.stack_bytes)):
        _require(value % PAGE == 0, f"the manifest's {name} {value} is not a multiple of {PAGE}")


def _check_places(m: Manifest) -> None:
    _require(not m.volumes or m.config == "cas", "protected volumes need a CAS that gives their keys")
    for name, path in m.volumes.items():
        _require(bool(_VOLUME.fullmatch(name)), f"{name!r} is not a volume name")
        _require(is_plain_path(path), f"the path {path!r} of volume {name} is not a plain absolute path")
    for path, size in m.tmpfs.items():
        _require(is_plain_path(path), f"the tmpfs path {path!r} is not a plain absolute path")
        _require(isinstance(size, int) and PAGE <= size <= MAX_HEAP_BYTES, f"the size of tmpfs {path} is out of range")
    for path in m.host_paths:
        _require(is_plain_path(path), f"the host path {path!r} is not a plain absolute path")
    _check_host_folders(m)
    places = [*m.volumes.values(), *m.tmpfs, *m.host_paths]
    _require(len(places) == len(set(places)), "two of the manifest's volumes, tmpfs and host paths are at one place")
    for path in places:
        _require(path.split("/")[1] not in (".adyton", "proc", "dev", "sys"), f"{path} may not be mounted over")
        _require(path not in m.trusted_files or path in m.host_paths, f"{path} is a file of the image")


def _check_host_folders(m: Manifest) -> None:
    """A file that is mounted (``/etc/hosts``) is there to be replaced; what lies in a folder would go unnoticed."""
    files = sorted(m.trusted_files) if m.host_paths else []
    for path in m.host_paths:
        first = bisect_left(files, f"{path}/")
        hidden = path if path == m.runtime[0] else next(iter(files[first : first + 1]), "")
        _require(
            hidden != m.runtime[0] and not hidden.startswith(f"{path}/"),
            f"the host path {path} would put the host's files in the place of the measured {hidden}",
        )


def _check_files(m: Manifest) -> None:
    _require(len(m.trusted_files) <= MAX_TRUSTED_FILES, f"more than {MAX_TRUSTED_FILES} trusted files")
    for path, entry in m.trusted_files.items():
        _require(is_plain_path(path) and path not in UNMEASURED_PATHS, f"{path!r} cannot be a trusted file")
        if isinstance(entry, TrustedFile):
            _require(bool(_SHA256.fullmatch(entry.sha256)), f"the sha256 of {path} is not 64 hex digits")
    _require(m.runtime[0] in m.trusted_files, f"the runtime {m.runtime[0]!r} is not a trusted file")


_RULES: Final[tuple[Callable[[Manifest], None], ...]] = (
    _check_texts,
    _check_cas,
    _check_environment,
    _check_numbers,
    _check_places,
    _check_files,
)
