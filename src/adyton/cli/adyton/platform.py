"""``adyton platform``: change the simulated machine of a network, to see what survives that and what does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from adyton.cli.adyton.options import State

if TYPE_CHECKING:
    from adyton.platform.simulated.state import MachineState

app = App(name="platform", help="Change the simulated machine of a stopped network: its CPU, owner epoch, microcode.")

Yes = Annotated[bool, Parameter(name="--yes", help="Do not ask.", negative=())]

_LOST = """Lost for good will be:
  - everything that enclaves sealed on this machine, first of all the database key of the CAS;
  - with it the CAS's sessions and keys, and the SMS databases, whose key the CAS keeps: all pushed secrets.
'adyton up' will then refuse to start the CAS on the old folders. Chain, orders and results stay.
"""


@app.command
def replace_cpu(*, yes: Yes = False, state: State = None) -> None:
    """Put another CPU into the machine, as after a defect or a move of the disks to another host.

    Everything sealed on the old CPU is lost: sealing binds data to the CPU, and nobody can move it.
    """
    with _machine(state) as (folder, machine):
        _confirm(f"A new CPU in {folder}.\n{_LOST}", yes=yes)
        machine.with_new_cpu().save(folder)
    _say("the machine has another CPU now")


@app.command
def new_owner_epoch(*, yes: Yes = False, state: State = None) -> None:
    """Change the owner epoch, as an owner does before giving a machine away.

    The CPU stays the same to its vendor, but everything sealed before is lost.
    """
    with _machine(state) as (folder, machine):
        _confirm(f"A new owner epoch for the machine in {folder}.\n{_LOST}", yes=yes)
        machine.with_new_epoch().save(folder)
    _say("the machine has another owner epoch now")


@app.command
def update_microcode(
    *,
    component: Annotated[int, Parameter(help="Which of the 16 components of CPUSVN changes.")] = 1,
    downgrade: Annotated[
        bool, Parameter(name="--downgrade", help="Go one level back instead of forward.", negative=())
    ] = False,
    yes: Yes = False,
    state: State = None,
) -> None:
    """Raise one component of the machine's microcode level (CPUSVN) by one.

    Nothing is lost: enclaves open what they sealed before and seal it again at the new level. What was sealed at the
    new level does not open after --downgrade, until the microcode is raised again; and below the vendor's current
    level the machine's evidence says OutOfDate.
    """
    with _machine(state) as (folder, machine):
        changed = machine.with_microcode(component, -1 if downgrade else 1)
        effect = (
            "What is sealed at this level does not open until you raise it again." if downgrade else "Nothing is lost."
        )
        _confirm(f"CPUSVN {machine.cpusvn.hex()} -> {changed.cpusvn.hex()} in {folder}.\n{effect}\n", yes=yes)
        changed.save(folder)
    _say(f"the machine's CPUSVN is {changed.cpusvn.hex()} now")


@contextmanager
def _machine(state: Path | None) -> Iterator[tuple[Path, MachineState]]:
    """The machine of the network, and its folder, while nothing else can use it.

    Raises:
        AdytonError: the network or its platform runs, or there is no machine yet.
    """
    from adyton.base.errors import NotFoundError  # noqa: PLC0415
    from adyton.devnet import supervision  # noqa: PLC0415
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415
    from adyton.platform.simulated.state import MachineState, exclusive  # noqa: PLC0415  # heavy

    paths = NetworkPaths.of(state)
    supervision.refuse_if_running(paths)
    platform = paths.data("platform")
    folder = platform / "machine"
    if not (folder / "fuses").exists():
        raise NotFoundError(
            f"the network in {paths.root} has no simulated machine yet",
            code="platform.state.missing",
            hint="start the network once with 'adyton up', or name another folder with --state",
        )
    with exclusive(platform):
        yield folder, MachineState.load(folder)


def _confirm(what: str, *, yes: bool) -> None:
    """Say what happens; unless ``yes``, go on only if the person at the terminal types it."""
    from adyton.base.errors import InputError  # noqa: PLC0415

    sys.stderr.write(what)
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nobody is there to confirm", code="platform.confirm", hint="repeat the command with --yes")
    sys.stderr.write("Type 'yes' to go on: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != "yes":
        raise InputError("not confirmed; nothing was changed", code="platform.confirm")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}; start the network with 'adyton up'\n")
