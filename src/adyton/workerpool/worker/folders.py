"""Where a task's files lie on the worker: ``<data>/tasks/<task id>/…`` (pool reference 4.1)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from adyton.base.types import Bytes32
from adyton.compute.client import ARCHIVE_NAME, COMPUTED_FILE_NAME


@dataclass(frozen=True, slots=True)
class TaskFolders:
    """The folders of one task."""

    base: Path

    @classmethod
    def of(cls, data_folder: Path, task_id: Bytes32) -> TaskFolders:
        """The folders of ``task_id``."""
        return cls(data_folder / "tasks" / task_id)

    @property
    def input(self) -> Path:
        """What a standard application sees as ``/iexec_in``."""
        return self.base / "input"

    @property
    def results(self) -> Path:
        """What a standard application sees as ``/iexec_out``."""
        return self.base / "output" / "iexec_out"

    @property
    def archive(self) -> Path:
        """The archive of a standard task's results."""
        return self.base / "output" / ARCHIVE_NAME

    @property
    def computed(self) -> Path:
        """The completed ``computed.json``."""
        return self.base / "output" / COMPUTED_FILE_NAME

    def volume(self, name: str) -> Path:
        """The host folder of an enclave's protected volume; holds ciphertext only."""
        return self.base / "volumes" / name

    def create(self) -> None:
        """Make the folders, private to the worker."""
        self.base.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.input, self.results):
            folder.mkdir(parents=True, exist_ok=True)

    def reset_results(self) -> None:
        """Forget what an earlier attempt left."""
        for folder in (self.input, self.base / "output", self.base / "volumes"):
            shutil.rmtree(folder, ignore_errors=True)
        self.create()

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.base, ignore_errors=True)


def purge(data_folder: Path, keep: set[Bytes32]) -> None:
    """Delete the folders of all tasks but ``keep``."""
    tasks = data_folder / "tasks"
    if not tasks.is_dir():
        return
    for folder in tasks.iterdir():
        if folder.name not in keep:
            shutil.rmtree(folder, ignore_errors=True)
