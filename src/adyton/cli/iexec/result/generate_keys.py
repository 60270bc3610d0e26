"""``iexec result generate-encryption-keypair``: the key pair that results are encrypted for."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.result.keys import KEY_FOLDER, key_folder
from adyton.sdk import results, wallets

COMMAND = Command(options=(*o.GLOBAL, *o.WALLET, o.FORCE, KEY_FOLDER))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Make the pair for the wallet's account."""
    address = wallets.find_address(context.selection, context.cwd)
    files = results.key_files(key_folder(context, arguments), address)
    if files.private_path.exists():
        context.confirm(f'"{files.private_name}" already exists, replace it?')
    results.generate_key_pair(files)
    return Outcome(
        {
            "secretPath": str(files.folder),
            "privateKeyFile": files.private_name,
            "publicKeyFile": files.public_name,
        },
        message="keep the private key: nothing else opens the results",
        next_step="iexec result push-encryption-key",
    )
