"""How ``adyton enclave inspect`` and ``diff`` look to a person: plain lines, no colours, nothing left out silently."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from adyton.enclave.difference import Change, Difference, FileChange

FIRST_FILES: Final = 20
DEBUG_BANNER: Final = """\
*********************************************************************
* DEBUG ENCLAVE: its host can read everything in it.                *
* Only services that tolerate debug-mode will give it secrets.      *
*********************************************************************
"""
_CHECKS: Final = {
    "signature": "signature, Q1, Q2",
    "enclavehash": "signed measurement",
    "attributes": "signed attributes",
    "identity": "product and version",
    "files": "files of the image",
}
_MARKS: Final = {"added": "+", "removed": "-", "changed": "~"}


def description_text(name: str, document: Mapping[str, Any]) -> str:
    """What :func:`adyton.enclave.description.describe` says, as text."""
    lines = [*_identity(name, document), *_measured(document["measured"]), *_unmeasured(document["unmeasured"])]
    text = "".join(f"{line}\n" for line in lines)
    return f"{DEBUG_BANNER}{text}{DEBUG_BANNER}" if document["debug"] else text


def difference_text(first: str, second: str, difference: Difference, limit: int | None) -> str:
    """A :class:`Difference` as text.

    Args:
        first: name of the first image.
        second: name of the second.
        difference: what to show.
        limit: how many files are listed; None lists all.
    """
    lines = [f"A  {difference.mrenclaves[0]}  {first}", f"B  {difference.mrenclaves[1]}  {second}", ""]
    lines.append("The measurement is the same." if difference.same else "The measurements differ.")
    if difference.fields:
        lines += ["", "Manifest (measured)", *map(_change, difference.fields)]
    if difference.files:
        lines += ["", f"Files (measured): {_counts(difference.files)}", *_files(difference, limit)]
    if difference.layout:
        lines += ["", "Layout (measured; follows from the above)", *map(_change, difference.layout)]
    if difference.sigstruct:
        lines += ["", "SIGSTRUCT (does not change MRENCLAVE)", *map(_change, difference.sigstruct)]
    return "".join(f"{line}\n" for line in lines)


def _identity(name: str, document: Mapping[str, Any]) -> Iterator[str]:
    yield f"image      {name} ({'DEBUG' if document['debug'] else 'production'})"
    for key in ("digest", "mrenclave", "mrsigner"):
        yield f"{key:10} {document[key]}"
    yield ""
    yield f"Checks: {'all hold' if document['holds'] else 'NOT ALL HOLD'}"
    yield from _table({title: document["checks"][key] for key, title in _CHECKS.items()})


def _measured(measured: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield "Measured: manifest"
    yield from _table(measured["manifest"])
    yield ""
    yield "Measured: layout (offset, pages, permissions, type)"
    yield f"  enclave size {measured['layout']['size']:#x}, SSA frames of {measured['layout']['ssa_frame_pages']} pages"
    for area in measured["layout"]["areas"]:
        content = "content measured" if area["content_measured"] else "pages measured, content not (zeros)"
        yield (
            f"  {area['offset']:#012x} {area['pages']:8} {area['permissions']} {area['type']}  {area['name']:10}"
            f" {content}"
        )
    files = measured["files"]
    yield ""
    yield (
        f"Measured: {files['count']} files of {files['bytes']} bytes and {files['links']} links,"
        f" {files['of_the_agent']} of them the agent's"
    )
    for entry in files.get("list", ()):
        yield f"  {_entry(entry)}  {_plain(entry['path'])}"
    if "list" not in files:
        yield "  (listed with --files)"


def _unmeasured(unmeasured: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield "NOT measured: SIGSTRUCT"
    yield from _table(unmeasured["sigstruct"])
    yield ""
    yield "NOT measured: OCI config"
    yield from _table(unmeasured["config"])
    yield ""
    yield "NOT measured: what the host gives"
    yield from _table({f"values of {key}": value for key, value in unmeasured["host"].items()})
    yield ""
    yield "NOT measured: besides"
    for note in unmeasured["notes"]:
        yield f"  {note}"


def _table(values: Mapping[str, Any]) -> Iterator[str]:
    width = max(map(len, values), default=0)
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield f"  {name}"
            yield from (f"    {_plain(key)}={_plain(item)}" for key, item in value.items())
        else:
            yield f"  {name:{width}}  {_plain(value)}"


def _plain(value: Any) -> str:  # noqa: ANN401  # JSON is any
    if isinstance(value, str):
        return value if value.isprintable() else json.dumps(value)  # what steers a terminal is shown, not obeyed
    if value in ([], {}):
        return "(none)"
    return json.dumps(value, ensure_ascii=True)


def _change(change: Change) -> str:
    return f"  {_plain(change.name)}: {_side(change.old)} -> {_side(change.new)}"


def _side(value: Any) -> str:  # noqa: ANN401
    return "(none)" if value is None else _plain(value)


def _counts(files: Sequence[FileChange]) -> str:
    kinds: list[str] = [change.kind for change in files]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in _MARKS)


def _files(difference: Difference, limit: int | None) -> Iterator[str]:
    for change in difference.files[:limit]:
        what = f"  {', '.join(change.what)}:" if change.what else " "
        sides = [_entry(side) for side in (change.old, change.new) if side is not None]
        yield f"  {_MARKS[change.kind]} {_plain(change.path)}{what} {' -> '.join(sides)}"
    left = len(difference.files) - len(difference.files[:limit])
    if left:
        yield f"  and {left} more (--all lists them)"
    if difference.agent_files:
        yield f"  {difference.agent_files} of them are the agent's: another version of adyton built the image"


def _entry(entry: Mapping[str, Any]) -> str:
    if "link" in entry:
        return f"link to {_plain(entry['link'])}"
    return f"{entry['sha256']}{' executable' if entry['executable'] else ''}"
