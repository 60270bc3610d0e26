"""``iexec <resource> show``: what a resource's contract says."""

from __future__ import annotations

from typing import Any, Final

from adyton.base.types import Address
from adyton.chain.calldata import AssetKind
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import assets, wallets
from adyton.sdk.errors import ClientError
from adyton.sdk.session import Session

COMMANDS: Final = dict.fromkeys(("app", "dataset", "workerpool"), Command("[addressOrIndex]", (*o.READ, o.USER)))
_ADDRESS_LENGTH: Final = 42


def run(context: Context, arguments: Arguments) -> Outcome:
    """Show a resource by address, name or number; without an argument the last deployed one."""
    kind = AssetKind(context.subject)
    with context.reading() as session:
        address = _address(context, arguments, session, kind)
        fields: dict[str, Any] = {"address": address, kind.value: assets.describe(session, kind, address)}
        if session.has_ens:
            fields["ens"] = session.name_of(address)
        if kind is AssetKind.WORKERPOOL:
            fields |= _api_url(session, address)
    order = ("address", "ens", kind.value) if kind is not AssetKind.WORKERPOOL else tuple(fields)
    return Outcome({key: fields[key] for key in order if key in fields})


def _address(context: Context, arguments: Arguments, session: Session, kind: AssetKind) -> Address:
    text = arguments.text("address_or_index")
    user = arguments.text("user")
    if text is None and user is None:
        address = context.project.last_deployed(kind, context.chain.chain_id)
        if address is None:
            message = f'Missing {kind}Address and no {kind} found in "deployed.json" for chain {context.chain.chain_id}'
            raise ClientError(message, code="sdk.asset.not_deployed")
        return address
    if text is None:
        raise ClientError("Missing index", code="sdk.asset.index", hint="--user needs the number of the resource")
    if text.endswith(".eth") or (text.startswith("0x") and len(text) == _ADDRESS_LENGTH):
        return session.resolve(text)
    owner = session.resolve(user) if user is not None else wallets.find_address(context.selection, context.cwd)
    return assets.asset_of_user(session, kind, owner, text)


def _api_url(session: Session, address: Address) -> dict[str, str]:
    from adyton.base.errors import AdytonError  # noqa: PLC0415  # only here
    from adyton.sdk import pools  # noqa: PLC0415  # only workerpools have one

    try:
        url = pools.api_url(session, address)
    except AdytonError:  # what the workerpool itself says is shown all the same
        return {}
    return {"apiUrl": url} if url else {}
