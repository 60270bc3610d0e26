"""A real enclave's sealed data through restarts, a microcode update, another owner epoch and another CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.platform.machine import build_native, enclave, running_daemon

from adyton.platform import sealing
from adyton.platform.simulated.state import MachineState

_APP = """
import sys
from pathlib import Path

sys.path.append("/.adyton/runtime/site")
from adyton.platform.client import EnclavePlatform
from sealing import SealingError, open_current, seal  # the agent does not need it: the application brings it

platform, file = EnclavePlatform.from_environment(), Path("/data/blob")
if not file.exists():
    file.write_bytes(seal(platform, b"kept", context=b"c"))
    print("sealed")
else:
    try:
        plaintext, fresh = open_current(platform, file.read_bytes(), b"c")
    except SealingError as error:
        print(error.code)
    else:
        if fresh is not None:
            file.write_bytes(fresh)
        print(plaintext.decode(), "as it was" if fresh is None else "sealed again")
"""

Run = Callable[..., str]


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The enclave, and another version of it; both debug."""
    folder = tmp_path_factory.mktemp("image")
    native = build_native(folder, {"app.py": _APP, "sealing.py": Path(sealing.__file__).read_text()})
    options = {"config": "none", "host_paths": ("/data/",)}
    return enclave(native, folder, **options)[0], enclave(native, folder, **options, name="other")[0]


@pytest.fixture
def run(tmp_path: Path, layouts: tuple[Path, Path]) -> Run:
    """Boot the machine, run the enclave once on the same data, and switch the machine off."""
    data = tmp_path / "data"
    data.mkdir()

    def once(change: Callable[[MachineState], MachineState] | None = None, *, other: bool = False) -> str:
        folder = tmp_path / "state" / "machine"
        if change is not None:
            change(MachineState.load(folder)).save(folder)
        with running_daemon(tmp_path) as machine:
            outcome = machine.run(layouts[other], host_paths={"/data": data})
        return outcome.stdout.strip() or outcome.stderr

    return once


def test_what_survives_and_what_does_not(run: Run) -> None:
    assert run() == "sealed"
    assert run() == "kept as it was"
    assert run(other=True) == "sealing.other_enclave"
    assert run(lambda machine: machine.with_microcode(2, 1)) == "kept sealed again"
    assert run() == "kept as it was"
    assert run(lambda machine: machine.with_microcode(2, -1)) == "sealing.newer"
    assert run(lambda machine: machine.with_microcode(2, 1)) == "kept as it was"
    assert run(MachineState.with_new_epoch) == "sealing.other_cpu"
    assert run(MachineState.with_new_cpu) == "sealing.other_cpu"
