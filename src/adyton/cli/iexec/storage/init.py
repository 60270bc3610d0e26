"""``iexec storage init``: put a storage token of the wallet into the SMS."""

from __future__ import annotations

from adyton.base.secret import Secret
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.pushing import telling
from adyton.sdk import storage
from adyton.sdk.errors import ClientError

COMMAND = Command(
    "[provider]",
    (
        *o.READ,
        Option("--force-update", "replace a token that is there"),
        Option("--token <token>", "the provider's token (others on this machine may see it)"),
        o.TEE_FRAMEWORK,
    ),
)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Get or ask for the token, and push it."""
    provider = arguments.text("provider") or storage.DEFAULT
    name = storage.secret_name(provider)
    force, framework = arguments.flag("force_update"), arguments.text("tee_framework")
    context.chain.url("resultProxy")  # official clients demand it for every provider
    with context.signing() as session:
        exists = storage.is_initialized(session, session.wallet.address, provider, framework)
        if exists and not force:
            raise ClientError(
                f"{provider} storage is already initialized, use --force-update option to update your storage token",
                code="sdk.storage.exists",
            )
        given = arguments.text("token")
        if given is not None:
            token = Secret(given)
        elif provider == storage.DEFAULT:
            token = storage.login(session)
        else:
            token = context.ui.hidden(f"Token of {provider}")
        pushed = storage.push(
            session, provider, token, force_update=force, framework=framework, tell=telling(context.ui)
        )
    return Outcome({"isInitialized": True, "isUpdated": pushed.is_updated}, message=f"{name} pushed", details={})
