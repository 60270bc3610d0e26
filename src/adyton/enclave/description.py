"""Everything about an enclave image that a person may want to see before trusting it: what is measured, and what not.

A pure function from an image's documents and files to plain values: the same for people, for JSON and for tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from adyton.attestation.formats.sgx import Flag
from adyton.enclave.errors import SigStructError, TrustedFileError
from adyton.enclave.image import EnclaveImage, ImageFiles
from adyton.enclave.manifest import PAGE, RUNTIME_PREFIX, CasPolicy, Manifest, TrustedEntry, TrustedFile, TrustedLink
from adyton.enclave.measure import SSA_FRAME_PAGES, Area, compare, layout
from adyton.enclave.sigstruct import DEBUG, MODE64, XFRM_LEGACY, SigStruct
from adyton.enclave.successors import UpgradePolicy

_PAGE_TYPES: Final = {0: "SECS", 1: "TCS", 2: "REG", 3: "VA", 4: "TRIM"}
UNMEASURED: Final = (
    "SIGSTRUCT: signer, date, attributes and masks (the CPU checks them at EINIT; a verifier sees the signer)",
    "ATTRIBUTES, XFRM and MISCSELECT at the start, and the base address: the host's choice within the masks",
    "OCI config of the image (entrypoint, environment, labels): the platform starts the measured runtime",
    "owners, times and further permissions of files, and empty folders",
    "content of the heap and of tmpfs folders: they start as zeros",
)


@dataclass(frozen=True, slots=True)
class Checks:
    """Whether the image holds together; each text is empty where all is well, else says what is wrong.

    Attributes:
        signature: SIGSTRUCT with its constants, reserved bytes, RSA signature, Q1 and Q2.
        enclavehash: the signed measurement is the one of this image.
        attributes: the signed attributes are those that a platform would start this manifest with.
        identity: the signed product number and version are the measured ones.
        files: the image's files are the manifest's.
    """

    signature: str
    enclavehash: str
    attributes: str
    identity: str
    files: str

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, in order."""
        return tuple(text for text in (getattr(self, item.name) for item in fields(self)) if text)


def check(image: EnclaveImage, files: ImageFiles) -> Checks:
    """Judge an image as a platform would at its start, but all of it and without stopping."""
    sig, manifest = image.sigstruct, image.manifest
    expected = MODE64 | (DEBUG if manifest.debug else 0)
    attributes = identity = ""
    if (sig.flags ^ expected) & sig.flagsmask or (sig.xfrm ^ XFRM_LEGACY) & sig.xfrmmask:
        attributes = f"signed is {_flags(sig.flags)}, the manifest is started with {_flags(expected)}: EINIT refuses"
    elif sig.miscselect & sig.miscmask or sig.cet or sig.cetmask or any(sig.isvfamilyid):
        attributes = "signed are MISCSELECT, CET or ISVFAMILYID, which no manifest is started with: EINIT refuses"
    elif not sig.flagsmask & DEBUG:
        attributes = "the attribute mask lacks DEBUG: any host may start it as a debug enclave"
    if (sig.isvprodid, sig.isvsvn) != (manifest.isvprodid, manifest.isvsvn):
        identity = (
            f"signed is product {sig.isvprodid} version {sig.isvsvn},"
            f" measured is product {manifest.isvprodid} version {manifest.isvsvn}"
        )
    signed = sig.enclavehash == image.mrenclave
    return Checks(
        signature=_signature_problem(sig),
        enclavehash="" if signed else f"signed is {sig.enclavehash.hex()}, measured is {image.mrenclave.hex()}",
        attributes=attributes,
        identity=identity,
        files=_files_problem(files, manifest),
    )


def describe(image: EnclaveImage, files: ImageFiles) -> dict[str, Any]:
    """The whole image as JSON values; numbers are decimal, masks and flags ``0x…`` texts, sizes in bytes."""
    checks = check(image, files)
    return {
        "digest": image.digest,
        "mrenclave": image.mrenclave.hex(),
        "mrsigner": image.sigstruct.mrsigner.hex(),
        "debug": image.manifest.debug,
        "holds": not checks.problems,
        "checks": {item.name: getattr(checks, item.name) or "ok" for item in fields(checks)},
        "measured": {
            "manifest": manifest_values(image.manifest),
            "files": _files_summary(image.manifest, files),
            "layout": layout_values(image.manifest),
        },
        "unmeasured": {
            "sigstruct": sigstruct_values(image.sigstruct),
            "config": {
                "entrypoint": list(image.config.entrypoint),
                "cmd": list(image.config.cmd),
                "environment": list(image.config.env),
                "workdir": image.config.workdir,
                "user": image.config.user,
                "labels": dict(image.config.labels),
            },
            "host": {"environment": list(image.manifest.host_environment), "paths": list(image.manifest.host_paths)},
            "notes": [*UNMEASURED, *_session_note(image.manifest)],
        },
    }


def manifest_values(manifest: Manifest) -> dict[str, Any]:
    """The manifest's members but its files; plain values in the order of the manifest."""
    return {item.name: _plain(getattr(manifest, item.name)) for item in fields(manifest) if item.name != _FILES}


def file_values(entries: Mapping[str, TrustedEntry]) -> list[dict[str, Any]]:
    """Files and links in order of paths."""
    return [{"path": path, **entry_values(entries[path])} for path in sorted(entries)]


def entry_values(entry: TrustedEntry) -> dict[str, Any]:
    """What is measured of a file or link."""
    if isinstance(entry, TrustedLink):
        return {"link": entry.link}
    return {"sha256": entry.sha256, "executable": entry.executable}


def layout_values(manifest: Manifest) -> dict[str, Any]:
    """The enclave's address space: what ECREATE, EADD and EEXTEND measure."""
    areas, size = layout(manifest)
    return {"size": size, "ssa_frame_pages": SSA_FRAME_PAGES, "areas": [_area(area) for area in areas]}


def sigstruct_values(sig: SigStruct) -> dict[str, Any]:
    """The fields of a SIGSTRUCT that say something; constants and reserved bytes are judged by :func:`check`."""
    return {
        "mrsigner": sig.mrsigner.hex(),
        "date": str(sig.signed_on) if sig.signed_on else f"not a date: {sig.date.hex()}",
        "vendor": f"{sig.vendor:#06x}",
        "swdefined": f"{sig.swdefined:#x}",
        "attributes": _flags(sig.flags),
        "attributes_mask": f"{sig.flagsmask:#018x}",
        "xfrm": f"{sig.xfrm:#x}",
        "xfrm_mask": f"{sig.xfrmmask:#018x}",
        "miscselect": f"{sig.miscselect:#x}",
        "miscselect_mask": f"{sig.miscmask:#010x}",
        "cet": f"{sig.cet:#x}",
        "cet_mask": f"{sig.cetmask:#x}",
        "isvfamilyid": sig.isvfamilyid.hex(),
        "isvextprodid": sig.isvextprodid.hex(),
        "isvprodid": sig.isvprodid,
        "isvsvn": sig.isvsvn,
        "enclavehash": sig.enclavehash.hex(),
    }


_FILES: Final = "trusted_files"


def _plain(value: Any) -> Any:  # noqa: ANN401  # JSON is any
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, CasPolicy):
        return {"anchor": value.anchor, "mrenclaves": list(value.mrenclaves)}
    if isinstance(value, UpgradePolicy):
        return value.to_plain()
    return value


def _area(area: Area) -> dict[str, Any]:
    permissions = "".join(letter if area.flags & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4)))
    return {
        "name": area.name,
        "offset": area.offset,
        "pages": area.pages,
        "bytes": area.pages * PAGE,
        "type": _PAGE_TYPES.get(area.flags >> 8, "unknown"),
        "permissions": permissions,
        "content_measured": area.content is not None,
    }


def _files_summary(manifest: Manifest, files: ImageFiles) -> dict[str, Any]:
    entries = manifest.trusted_files
    regular = [path for path, entry in entries.items() if isinstance(entry, TrustedFile)]
    return {
        "count": len(regular),
        "links": len(entries) - len(regular),
        "bytes": sum(files.sizes.get(path, 0) for path in regular),
        "of_the_agent": sum(path.startswith(RUNTIME_PREFIX) for path in entries),
    }


def _session_note(manifest: Manifest) -> tuple[str, ...]:
    if manifest.config != "cas":
        return ()
    which = "any CAS that the host names" if manifest.cas is None else "the CAS named in the manifest"
    given = "secrets and files" if manifest.closed else "command, environment, secrets and volume keys"
    return (f"what {which} gives after attestation: {given}",)


def _signature_problem(sig: SigStruct) -> str:
    try:
        sig.verify()
    except SigStructError as error:
        return error.message
    return ""


def _files_problem(files: ImageFiles, manifest: Manifest) -> str:
    try:
        compare(files.entries, manifest.trusted_files)
    except TrustedFileError as error:
        return error.message
    return ""


def _flags(flags: int) -> str:
    known = [str(flag.name) for flag in Flag if flags & flag]
    rest = flags & ~sum(Flag)
    return f"{flags:#x} ({' '.join([*known, *([f'{rest:#x}'] if rest else [])]) or 'none'})"
