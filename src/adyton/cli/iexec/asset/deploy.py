"""``iexec <resource> deploy``: create what iexec.json describes."""

from __future__ import annotations

from typing import Final

from adyton.chain.calldata import AssetKind
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import assets

COMMANDS: Final = dict.fromkeys(("app", "dataset", "workerpool"), Command(options=o.WRITE))


def run(context: Context, arguments: Arguments) -> Outcome:  # noqa: ARG001  # every verb has the same form
    """Create the resource and remember its address."""
    kind = context.subject
    description = context.project.section(kind)
    with context.signing() as session:
        context.ui.info(f"deploying {kind} ...")
        deployed = assets.deploy(session, AssetKind(kind), description)
    context.project.save_deployed(kind, context.chain.chain_id, deployed.address)
    return Outcome(
        {"address": deployed.address, "txHash": deployed.transaction_hash},
        message=f"{kind} deployed",
        next_step=f"iexec {kind} publish",
    )
