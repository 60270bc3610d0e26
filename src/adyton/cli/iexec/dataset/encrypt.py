"""``iexec dataset encrypt``: encrypt the plain files, each under a new key."""

from __future__ import annotations

from pathlib import Path

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.dataset.folders import FOLDERS, folders_of
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import datasets

COMMAND = Command(options=(*o.GLOBAL, o.FORCE, *FOLDERS))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Encrypt, and tell where everything is."""
    folders = folders_of(context, arguments)

    def confirm(path: Path) -> None:
        context.confirm(f'"{path.name}" already exists, replace it?')

    files = [
        {
            "original": str(file.original),
            "encrypted": str(file.encrypted),
            "key": str(file.key),
            "checksum": file.checksum,
        }
        for file in datasets.encrypt_all(folders, confirm)
    ]
    fields = {
        "encryptedDatasetFolderPath": str(folders.encrypted),
        "secretPath": str(folders.keys),
        "encryptedFiles": files,
    }
    return Outcome(
        fields,
        message=f"encrypted {len(files)} file(s)",
        next_step="upload the encrypted file, put its URL and checksum into iexec.json, iexec dataset deploy",
    )
