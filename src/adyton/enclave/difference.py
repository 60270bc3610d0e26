"""Why two enclave images measure differently: manifest members, files, and what follows from them in the layout.

What lies outside the measurement, the SIGSTRUCT, is compared as well and kept apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from adyton.enclave.description import entry_values, layout_values, manifest_values, sigstruct_values
from adyton.enclave.image import EnclaveImage
from adyton.enclave.manifest import RUNTIME_PREFIX, TrustedEntry, TrustedLink

_MAPS: Final = frozenset({"environment", "volumes", "tmpfs", "cas", "upgrade"})


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs; None stands for absent."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file or link that differs.

    Attributes:
        path: absolute, inside the enclave.
        kind: what happened to it.
        what: of a changed one: ``content``, ``executable``, ``target``, ``type``.
        old: as the first manifest lists it; None if it does not.
        new: as the second does.
    """

    path: str
    kind: Literal["added", "removed", "changed"]
    what: tuple[str, ...]
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs from the first image to the second.

    Attributes:
        same: whether MRENCLAVE is the same; then only ``sigstruct`` can have something.
        mrenclaves: both, hex.
        fields: members of the manifest; single entries of maps are named ``environment.NAME``.
        files: in order of paths.
        layout: consequences of the others: enclave size and areas.
        sigstruct: does not change MRENCLAVE.
    """

    same: bool
    mrenclaves: tuple[str, str]
    fields: tuple[Change, ...]
    files: tuple[FileChange, ...]
    layout: tuple[Change, ...]
    sigstruct: tuple[Change, ...]

    @property
    def agent_files(self) -> int:
        """How many of the files are the measured agent's: another version of this program built the image."""
        return sum(change.path.startswith(RUNTIME_PREFIX) for change in self.files)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"agent_files": self.agent_files}


def compare_images(first: EnclaveImage, second: EnclaveImage) -> Difference:
    """All differences between two enclaves, whatever signs them and whatever else is in their images."""
    old, new = first.manifest, second.manifest
    return Difference(
        same=first.mrenclave == second.mrenclave,
        mrenclaves=(first.mrenclave.hex(), second.mrenclave.hex()),
        fields=tuple(_changes(manifest_values(old), manifest_values(new), _MAPS)),
        files=tuple(_files(old.trusted_files, new.trusted_files)),
        layout=tuple(_changes(_layout(layout_values(old)), _layout(layout_values(new)))),
        sigstruct=tuple(_changes(_signature(first), _signature(second))),
    )


def _changes(
    old: Mapping[str, Any], new: Mapping[str, Any], maps: frozenset[str] = frozenset(), prefix: str = ""
) -> Iterator[Change]:
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if name in maps and isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _changes(before, after, prefix=f"{name}.")
        else:
            yield Change(prefix + name, before, after)


def _signature(image: EnclaveImage) -> dict[str, Any]:
    """What is signed, without ENCLAVEHASH where that is the measurement, which is shown already."""
    values = sigstruct_values(image.sigstruct)
    if image.sigstruct.enclavehash == image.mrenclave:
        del values["enclavehash"]
    return values


def _files(old: Mapping[str, TrustedEntry], new: Mapping[str, TrustedEntry]) -> Iterator[FileChange]:
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before is None and after is not None:
            yield FileChange(path, "added", (), None, entry_values(after))
        elif after is None and before is not None:
            yield FileChange(path, "removed", (), entry_values(before), None)
        elif before != after and before is not None and after is not None:
            yield FileChange(path, "changed", _what(before, after), entry_values(before), entry_values(after))


def _what(old: TrustedEntry, new: TrustedEntry) -> tuple[str, ...]:
    if isinstance(old, TrustedLink) or isinstance(new, TrustedLink):
        return ("target",) if type(old) is type(new) else ("type",)
    differs = (("content", old.sha256 != new.sha256), ("executable", old.executable != new.executable))
    return tuple(name for name, different in differs if different)


def _layout(values: Mapping[str, Any]) -> dict[str, Any]:
    """Size and areas as one flat map: offsets move together, so an area is its pages, kind and place."""
    flat: dict[str, Any] = {"size": values["size"]}
    for area in values["areas"]:
        flat[f"{area['name']} pages"] = area["pages"]
        flat[f"{area['name']} offset"] = area["offset"]
    return flat
