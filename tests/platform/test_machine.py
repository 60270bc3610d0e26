"""What a simulated machine keeps in its folder, what changing it loses, and what it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.platform.world import World, signer

from adyton.attestation.dcap.verify import Verifier
from adyton.attestation.formats.sgx import Attributes, Flag, KeyPolicy
from adyton.base.errors import InputError
from adyton.base.secret import Secret
from adyton.enclave.sigstruct import sign
from adyton.platform.protocol import Platform
from adyton.platform.sealing import SealingError, is_stale, open_current, seal, unseal
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN, FusedSecrets
from adyton.platform.simulated.machine import SimulatedMachine
from adyton.platform.simulated.pki import SimulatedVendor
from adyton.platform.simulated.state import MachineState, StateInUseError, exclusive

M1 = b"\x01" * 32
TEXT = b"the database key"
Change = Callable[[MachineState], MachineState]


@pytest.fixture(scope="module")
def vendor() -> SimulatedVendor:
    return SimulatedVendor(Secret(b"adyton tests: simulated vendor.."), signer("vendor"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "machine"


def boot(folder: Path, vendor: SimulatedVendor) -> Platform:
    """Start the machine of a folder, and on it the one enclave of these tests."""
    machine = SimulatedMachine.in_folder(folder, vendor, "http://none.invalid")
    day = datetime(2026, 1, 1, tzinfo=UTC).date()
    sigstruct = sign(M1, signer("developer"), debug=False, isvprodid=0, isvsvn=0, signed_on=day)
    return machine.initialise(M1, sigstruct.to_bytes(), Attributes(Flag.MODE64BIT))


def change(folder: Path, how: Change) -> None:
    how(MachineState.load(folder)).save(folder)


class TestFolder:
    def test_a_machine_is_made_once_and_is_private(self, folder: Path) -> None:
        made = MachineState.load(folder)
        assert MachineState.load(folder) == made
        assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
            "fuses": 0o600, "owner-epoch": 0o600, "cpusvn": 0o600,
        }  # fmt: skip
        assert folder.stat().st_mode & 0o777 == 0o700
        assert made.cpusvn == DEFAULT_CPUSVN
        assert made.owner_epoch == bytes(16)

    def test_a_folder_with_fuses_alone_is_a_machine(self, folder: Path) -> None:
        """As earlier versions made it."""
        fuses = FusedSecrets.create()
        folder.mkdir()
        (folder / "fuses").write_bytes(fuses.to_bytes().reveal())
        assert MachineState.load(folder) == MachineState(fuses)

    @pytest.mark.parametrize("name", ["owner-epoch", "cpusvn"])
    @pytest.mark.parametrize("content", ["", "00", "zz" * 16, "00" * 17, "\xff"])
    def test_a_damaged_file_is_refused_and_not_replaced(self, folder: Path, name: str, content: str) -> None:
        MachineState.load(folder)
        (folder / name).write_text(content)
        with pytest.raises(InputError) as caught:
            MachineState.load(folder)
        assert caught.value.code == "platform.state.format"
        assert (folder / name).read_text() == content

    def test_damaged_fuses_are_refused_and_not_replaced(self, folder: Path) -> None:
        MachineState.load(folder)
        (folder / "fuses").write_bytes(b"short")
        with pytest.raises(InputError) as caught:
            MachineState.load(folder)
        assert caught.value.code == "platform.fuses"
        assert (folder / "fuses").read_bytes() == b"short"

    def test_its_secrets_show_nowhere(self, folder: Path) -> None:
        state = MachineState.load(folder)
        secret = state.fuses.to_bytes().reveal()
        assert repr(secret)[2:-1] not in repr(state)
        assert secret.hex() not in repr(state)


class TestChanges:
    def test_a_reboot_loses_nothing(self, folder: Path, vendor: SimulatedVendor) -> None:
        blob = seal(boot(folder, vendor), TEXT)
        assert open_current(boot(folder, vendor), blob) == (TEXT, None)

    @pytest.mark.parametrize(
        "how", [MachineState.with_new_cpu, MachineState.with_new_epoch], ids=["another CPU", "another owner epoch"]
    )
    @pytest.mark.parametrize("policy", [KeyPolicy.MRENCLAVE, KeyPolicy.MRSIGNER], ids=lambda policy: policy.name)
    def test_another_cpu_or_epoch_loses_everything(
        self, folder: Path, vendor: SimulatedVendor, how: Change, policy: KeyPolicy
    ) -> None:
        before = boot(folder, vendor)
        blob, kept = seal(before, TEXT, policy=policy), MachineState.load(folder)
        change(folder, how)
        with pytest.raises(SealingError) as caught:
            unseal(boot(folder, vendor), blob)
        assert caught.value.code == "sealing.other_cpu"
        kept.save(folder)  # whoever has the old secrets has the data
        assert unseal(boot(folder, vendor), blob) == TEXT

    def test_another_epoch_is_the_same_cpu_to_its_vendor(self, folder: Path, vendor: SimulatedVendor) -> None:
        def instance() -> object:
            return SimulatedMachine.in_folder(folder, vendor, "")._cpu.ppid  # what the vendor sees

        before = instance()
        change(folder, MachineState.with_new_epoch)
        assert instance() == before
        change(folder, MachineState.with_new_cpu)
        assert instance() != before

    def test_a_microcode_update_loses_nothing_and_seals_again(self, folder: Path, vendor: SimulatedVendor) -> None:
        blob = seal(boot(folder, vendor), TEXT)
        change(folder, lambda state: state.with_microcode(1, 1))
        updated = boot(folder, vendor)
        plaintext, fresh = open_current(updated, blob)
        assert plaintext == TEXT
        assert fresh is not None
        assert not is_stale(updated, fresh)
        change(folder, lambda state: state.with_microcode(1, -1))
        old = boot(folder, vendor)
        assert unseal(old, blob) == TEXT
        with pytest.raises(SealingError) as caught:
            unseal(old, fresh)
        assert caught.value.code == "sealing.newer"

    @pytest.mark.parametrize("component", [0, 17, -1])
    def test_there_are_sixteen_components(self, folder: Path, component: int) -> None:
        with pytest.raises(InputError) as caught:
            MachineState.load(folder).with_microcode(component, 1)
        assert caught.value.code == "platform.cpusvn"

    @pytest.mark.parametrize(("component", "step"), [(5, 1), (16, -1)], ids=["above 255", "below 0"])
    def test_a_component_is_a_byte(self, folder: Path, component: int, step: int) -> None:
        with pytest.raises(InputError):
            MachineState.load(folder).with_microcode(component, step)

    @pytest.mark.parametrize("component", range(1, 17))
    def test_each_component_is_moved_alone(self, component: int) -> None:
        state = MachineState(FusedSecrets.create(), cpusvn=bytes([7] * 16))
        raised = state.with_microcode(component, 1)
        assert [new - old for new, old in zip(raised.cpusvn, state.cpusvn, strict=True)].index(1) == component - 1
        assert raised.with_microcode(component, -1) == state


class TestEvidence:
    """What the vendor's catalogue says about machines above and below its newest level."""

    @pytest.mark.parametrize(("step", "status"), [(0, "UpToDate"), (1, "UpToDate"), (-1, "OutOfDate")])
    def test_the_level_decides(self, step: int, status: str) -> None:
        state = MachineState.create().with_microcode(1, step)
        world = World(fuses=state.fuses, cpusvn=state.cpusvn)
        quote = world.platform(M1).quote(bytes(64))
        from adyton.attestation.policy import Weakness  # noqa: PLC0415  # for this case only

        policy = replace(world.policy(M1), tolerate=frozenset({Weakness.OUTDATED_TCB}))
        verifier: Verifier = world.verifier()
        assert str(verifier.verify(quote, policy).status) == status


class TestLock:
    def test_one_at_a_time(self, tmp_path: Path) -> None:
        with exclusive(tmp_path):
            with pytest.raises(StateInUseError, match=str(os.getpid())), exclusive(tmp_path):
                pytest.fail("twice")
            assert (tmp_path / "platform.lock").stat().st_mode & 0o777 == 0o600
        with exclusive(tmp_path):
            pass

    def test_it_is_free_when_its_holder_was_killed(self, tmp_path: Path) -> None:
        code = (
            "import sys, time; from pathlib import Path; from adyton.platform.simulated.state import exclusive\n"
            "with exclusive(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
        )
        holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(StateInUseError, match=str(holder.pid)), exclusive(tmp_path):
            pytest.fail("taken")
        holder.kill()
        holder.wait()
        holder.stdout.close()
        with exclusive(tmp_path):
            pass

    @pytest.mark.parametrize("kind", ["a link for the lock", "a file for the folder"])
    def test_what_cannot_be_a_state_folder_is_named(self, tmp_path: Path, kind: str) -> None:
        state = tmp_path / "state"
        if kind == "a link for the lock":
            state.mkdir()
            (state / "platform.lock").symlink_to(tmp_path / "elsewhere")
        else:
            state.write_text("mine")
        with pytest.raises(InputError) as caught, exclusive(state):
            pytest.fail("used")
        assert caught.value.code == "platform.state.unusable"
        assert not (tmp_path / "elsewhere").exists()

    def test_the_folder_becomes_private(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        with exclusive(tmp_path):
            assert tmp_path.stat().st_mode & 0o777 == 0o700
