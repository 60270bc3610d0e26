"""``iexec init``: the files of a new project, and a wallet."""

from __future__ import annotations

from pathlib import Path

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.wallet.create import save_new
from adyton.sdk import templates
from adyton.sdk.errors import AbortedError
from adyton.sdk.files import CHAINS_FILE, PROJECT_FILE, write_json

COMMAND = Command(
    options=(*o.GLOBAL, *o.NEW_WALLET, o.FORCE, Option("--skip-wallet", "do not make a wallet")),
)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Write iexec.json and chain.json, then make a wallet. Here, and only here, ``--raw`` implies ``--force``."""
    _write(context, PROJECT_FILE, templates.PROJECT)
    _write(context, CHAINS_FILE, templates.CHAINS)
    wallet_fields = {}
    if not arguments.flag("skip_wallet"):
        from adyton.chain.wallet import Wallet  # noqa: PLC0415  # the curve's library, not for --skip-wallet

        file, shown = save_new(context, arguments, Wallet.create(), forced=_forced(context))
        wallet_fields = {"walletAddress": file.address(), "walletFile": shown}
    return Outcome(
        wallet_fields | {"configFile": PROJECT_FILE, "chainConfigFile": CHAINS_FILE},
        message="iExec project is ready",
        next_step="iexec wallet show",
    )


def _write(context: Context, name: str, content: object) -> None:
    path: Path = context.project.path(name)
    if path.exists() and not _forced(context):
        try:
            context.ui.confirm(f'"{name}" already exists, replace it?')
        except AbortedError:
            return
    write_json(path, content)


def _forced(context: Context) -> bool:
    return context.forced or context.ui.raw
