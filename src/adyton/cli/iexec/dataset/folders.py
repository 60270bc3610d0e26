"""The options that name the folders of encrypted datasets."""

from __future__ import annotations

from typing import Final

from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Option
from adyton.sdk.datasets import DatasetFolders

FOLDERS: Final = (
    Option("--dataset-keystoredir <path>", "folder of the keys (default .secrets/datasets)"),
    Option("--original-dataset-dir <path>", "folder of the plain files (default datasets/original)"),
    Option("--encrypted-dataset-dir <path>", "folder of the encrypted files (default datasets/encrypted)"),
)


def folders_of(context: Context, arguments: Arguments) -> DatasetFolders:
    """The folders that the options choose."""
    return DatasetFolders.of(
        context.cwd,
        arguments.text("dataset_keystoredir"),
        arguments.text("original_dataset_dir"),
        arguments.text("encrypted_dataset_dir"),
    )
