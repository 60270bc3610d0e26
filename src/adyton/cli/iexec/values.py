"""Reading values of the command line that several verbs have."""

from __future__ import annotations

from adyton.base.errors import InputError
from adyton.base.types import Address, Bytes32, parse_bytes32
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments
from adyton.sdk.errors import ClientError, ValidationError
from adyton.sdk.session import Session
from adyton.sdk.units import parse_nrlc

DEPLOYED = "deployed"


def amount_text(arguments: Arguments) -> str:
    """An amount of two positionals, ``<amount> [unit]``; with the blank that official messages show, too."""
    return f"{arguments.required('amount')} {arguments.text('unit') or ''}"


def price(arguments: Arguments, key: str = "price") -> int:
    """A price option in nRLC; 0 when absent."""
    words = arguments.words(key)
    return 0 if words is None else parse_nrlc(" ".join(words))


def word32(text: str) -> Bytes32:
    """A deal, task or order id.

    Raises:
        ValidationError: not 32 bytes of hex.
    """
    try:
        return parse_bytes32(text)
    except InputError as error:
        raise ValidationError(f"{text[:80]} is not a bytes32 hexstring") from error


def asset_address(context: Context, session: Session, kind: str, text: str | None) -> Address:
    """A resource: by address or name, or the one that was deployed last from this project.

    Raises:
        ClientError: none given, none deployed.
    """
    if text is not None and text != DEPLOYED:
        return session.resolve(text)
    address = context.project.last_deployed(kind, context.chain.chain_id)
    if address is None:
        message = f'Missing {kind}Address and no {kind} found in "deployed.json" for chain {context.chain.chain_id}'
        raise ClientError(message, code="sdk.asset.not_deployed", hint=f"iexec {kind} deploy")
    return address
