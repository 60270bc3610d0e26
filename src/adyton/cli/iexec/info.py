"""``iexec info``: where the chain's contracts are."""

from __future__ import annotations

from typing import Final

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome, given

COMMAND = Command(options=(*o.GLOBAL, o.CHAIN))

CONTRACTS_VERSION: Final = "6.1.0"  # of the contract interface that the official client 8.24.0 reports


def run(context: Context, arguments: Arguments) -> Outcome:  # noqa: ARG001  # every verb has the same form
    """Show the hub, its registries and its token."""
    with context.reading() as session:
        registries = session.registries
        return Outcome(
            given(
                pocoVersion=CONTRACTS_VERSION,
                host="default" if context.chain.host_is_builtin else context.chain.host,
                hubAddress=context.chain.hub,
                rlcAddress=session.token,
                appRegistryAddress=registries.app.address,
                datasetRegistryAddress=registries.dataset.address,
                workerpoolRegistryAddress=registries.workerpool.address,
                useNative=context.chain.native,
            )
        )
