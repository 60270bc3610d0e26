"""``adyton cas session upgrade``, ``adyton cas identity`` and ``adyton cas upgrade-sms``: successors of an enclave.

What approving means, and what to check before, is in docs/operations.md, "Releasing a new SMS".
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from adyton.base.errors import InputError
from adyton.cli.adyton.cas import _OWNER, Json, Owner, _answer, _client, _write_lines
from adyton.cli.adyton.options import State


def upgrade(
    name: str,
    /,
    *,
    successor: Annotated[str | None, Parameter(help="MRENCLAVE that may take the place, 64 hex digits.")] = None,
    carry: Annotated[bool, Parameter(help="The successor gets the present keys.", negative=())] = False,
    discard: Annotated[
        bool, Parameter(help="It gets keys of its own, and the present ones are destroyed.", negative=())
    ] = False,
    predecessor: Annotated[
        str | None,
        Parameter(name="--from", help="MRENCLAVE that must be the current one. Default: the one that is."),
    ] = None,
    revoke: Annotated[bool, Parameter(help="Take your approval back instead.", negative=())] = False,
    owner: Owner = _OWNER,
    as_json: Json = False,
) -> int:
    """Approve the enclave that may take the place of a session's current one, or take the approval back."""

    def do() -> dict[str, Any]:
        with _client(owner) as client:
            if proposal is None:
                return {"name": name, **client.revoke(name)}
            before = predecessor or (client.show(name).line or {}).get("current")
            if before is None:
                raise InputError(
                    f"the session {name} names no approvers, so nothing can ever follow its enclaves",
                    code="cas.upgrade.none",
                )
            return {"name": name, **client.approve(name, before.lower(), *proposal)}

    proposal = _proposal(successor, carry=carry, discard=discard, revoke=revoke)
    return _answer(do, _show_line, as_json=as_json)


def identity(
    *,
    folder: Annotated[
        Path | None,
        Parameter(name="--identity", help="Folder of your client key, made at first use. Default: 'owner' of --state."),
    ] = None,
    state: State = None,
) -> None:
    """Print the key hash of a client key, which is made where there is none."""
    from adyton.cas.client.operator import make_identity  # noqa: PLC0415  # heavy
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415

    chosen = NetworkPaths.of(state).data("owner") if folder is None else folder
    chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
    sys.stdout.write(make_identity(chosen) + "\n")


def upgrade_sms(*, state: State = None) -> None:
    """Build a new release of a network's SMS beside the present one."""
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415  # heavy
    from adyton.devnet.successors import build_successors  # noqa: PLC0415

    paths = NetworkPaths.of(state)
    found = build_successors(paths, _note)
    if not found:
        sys.stdout.write("the SMS would have the same measurement as now: there is nothing to approve\n")
        return
    for each in found:
        sys.stdout.write(
            f"\nsession     {each.session}\nimage       {each.image.layout}\npresent     {each.predecessor}\n"
            f"successor   {each.image.mrenclave}\n"
        )
    sys.stdout.write(
        "\nEach approver, after building and comparing it (docs/operations.md, 'Releasing a new SMS'):\n\n"
    )
    for each in found:
        sys.stdout.write(
            f"    adyton cas session upgrade {each.session} --successor {each.image.mrenclave}"
            " --carry --identity FOLDER\n"
        )
    sys.stdout.write("\nor --discard, which destroys all that is stored. Then 'adyton down' and 'adyton up'.\n")


def line_text(line: Mapping[str, Any]) -> list[str]:
    """What became of a session's enclaves, in words, a line each."""
    text = [f"first enclave: {line['first']}"]
    text += [f"then by {step['choice']}: {step['successor']}" for step in line["steps"]]
    text.append(f"current enclave: {line['current']}")
    text += [
        f"approved by {entry['approver']}: {entry['choice']} to {entry['successor']}" for entry in line["approvals"]
    ]
    allowed = line.get("allowed")
    if allowed:
        text.append(f"takes effect at its first start: {allowed['choice']} to {allowed['successor']}")
    else:
        text.append(f"no successor has the {line['threshold']} approvals that it needs")
    return text


def _show_line(found: dict[str, Any]) -> None:
    from adyton.cli.adyton.verdict_report import write_out  # noqa: PLC0415

    _write_lines(write_out, line_text(found))


def _proposal(successor: str | None, *, carry: bool, discard: bool, revoke: bool) -> tuple[str, str] | None:
    """Successor and choice; None: the approval is taken back."""
    if revoke and successor is None and not carry and not discard:
        return None
    if revoke or successor is None or carry == discard:
        raise InputError(
            "say either --successor MRENCLAVE with one of --carry and --discard, or --revoke alone",
            code="cas.client.upgrade",
        )
    return successor.lower(), "carry" if carry else "discard"


def _note(line: str) -> None:
    sys.stderr.write(f"{line}\n")
