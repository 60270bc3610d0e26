"""``iexec wallet create``: a wallet with a new key. Also where all commands that make wallets save them."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from adyton.base.secret import Secret
from adyton.chain.wallet import Wallet
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import wallets
from adyton.sdk.files import WALLET_FILE

COMMAND = Command(options=(*o.GLOBAL, *o.NEW_WALLET, o.FORCE))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Make and save a wallet."""
    return outcome_of_new(context, arguments, Wallet.create())


def outcome_of_new(context: Context, arguments: Arguments, wallet: Wallet) -> Outcome:
    """Save a wallet and tell about it."""
    file, shown = save_new(context, arguments, wallet, forced=context.forced)
    return Outcome(
        {"wallet": file.document, "fileName": shown, "address": wallet.address},
        message=f'wallet {wallet.address} is in "{shown}"',
        details={},
    )


def save_new(context: Context, arguments: Arguments, wallet: Wallet, *, forced: bool) -> tuple[wallets.WalletFile, str]:
    """Save a wallet as the options say: encrypted unless ``--unencrypted`` is given without a password.

    Returns:
        The file, and its path as messages show it.

    Raises:
        AbortedError: a wallet.json exists and shall stay.
        PromptClosedError: no password was given and nobody can be asked.
    """
    given = arguments.text("password")
    if given is None and arguments.flag("unencrypted"):
        if (context.cwd / WALLET_FILE).exists() and not forced:
            context.ui.confirm(f'"{WALLET_FILE}" already exists, replace it?')
        return wallets.save_plain(wallet, context.cwd), WALLET_FILE
    if given is None:
        password = context.ui.new_password()
    else:
        context.ui.warn("a password on the command line can be seen by others on this machine")
        password = Secret(given)
    choice = arguments.text("keystoredir")
    folder = wallets.keystore_folder(choice, context.cwd)
    file = wallets.save_encrypted(wallet, password, folder, datetime.now(UTC))
    if choice in (None, "global"):
        return file, str(file.path)
    return file, file.path.name if choice == "local" else os.path.join(str(choice), file.path.name)  # noqa: PTH118  # shown as typed
