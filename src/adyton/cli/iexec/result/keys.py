"""The options that name the beneficiary's keys."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from adyton.base.types import Address
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Option
from adyton.sdk import results

KEY_FOLDER: Final = Option("--beneficiary-keystoredir <path>", "folder of the keys (default .secrets/beneficiary)")
KEY_FILE: Final = Option("--beneficiary-key-file <fileName>", "private key to use (default: the wallet's)")


def key_folder(context: Context, arguments: Arguments) -> Path:
    """The folder that the options choose."""
    return context.cwd / (arguments.text("beneficiary_keystoredir") or results.BENEFICIARY_FOLDER)


def private_key_path(context: Context, arguments: Arguments, address: Address) -> Path:
    """The private key that the options choose, by default that of an account."""
    folder = key_folder(context, arguments)
    return folder / (arguments.text("beneficiary_key_file") or results.key_files(folder, address).private_name)
