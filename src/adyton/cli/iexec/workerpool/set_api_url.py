"""``iexec workerpool set-api-url``: register where a workerpool's scheduler answers."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.values import asset_address
from adyton.sdk import pools
from adyton.sdk.config import API_REGISTRATION
from adyton.sdk.errors import ValidationError

COMMAND = Command("<apiUrl> [workerpoolAddress]", o.WRITE)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Write the text record of the workerpool's name."""
    url = arguments.required("api_url")
    if url and not url.startswith(("http://", "https://")):
        raise ValidationError(f"{url[:200]} is not a valid URL")
    context.chain.require_feature(API_REGISTRATION)
    with context.signing() as session:
        address = asset_address(context, session, "workerpool", arguments.text("workerpool_address"))
        transaction = pools.set_api_url(session, address, url)
    return Outcome({"address": address, "url": url, "txHash": transaction})
