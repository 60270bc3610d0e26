"""``iexec result decrypt``: open an encrypted result."""

from __future__ import annotations

from typing import Final

from adyton.base.files import write_atomic
from adyton.base.types import ZERO_ADDRESS
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.result.keys import KEY_FILE, KEY_FOLDER, private_key_path
from adyton.sdk import results, wallets
from adyton.sdk.errors import ClientError

COMMAND = Command("[encryptedResultsPath]", (*o.GLOBAL, *o.WALLET, o.FORCE, KEY_FOLDER, KEY_FILE))

INPUT_NAME: Final = "encryptedResults.zip"
OUTPUT_NAME: Final = "results.zip"


def run(context: Context, arguments: Arguments) -> Outcome:
    """Decrypt into ./results.zip."""
    source = context.cwd / (arguments.text("encrypted_results_path") or INPUT_NAME)
    try:
        encrypted = source.read_bytes()
    except FileNotFoundError as error:
        message = f"ENOENT: no such file or directory, open '{source}'"
        raise ClientError(message, code="sdk.result.input") from error
    named = arguments.text("beneficiary_key_file") is not None
    address = ZERO_ADDRESS if named else wallets.find_address(context.selection, context.cwd)
    target = context.cwd / OUTPUT_NAME
    if target.exists():
        context.confirm(f'"{OUTPUT_NAME}" already exists, replace it?')
    write_atomic(target, results.decrypt_archive(encrypted, private_key_path(context, arguments, address)))
    return Outcome({"resultsPath": str(target)}, message="result decrypted")
