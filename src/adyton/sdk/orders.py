"""Orders from the user's side: from a template to a signed order, and on to the market or to closing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from adyton.base.errors import InputError
from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, Address, Bytes32, parse_bytes32
from adyton.chain import params as request_params
from adyton.chain import tags
from adyton.chain.calldata import AssetKind, HubCalls, OrderOperation
from adyton.chain.orders import (
    AppOrder,
    DatasetOrder,
    Order,
    OrderKind,
    RequestOrder,
    WorkerpoolOrder,
    sign_order,
)
from adyton.sdk import assets
from adyton.sdk.errors import ClientError, ValidationError
from adyton.sdk.session import Session
from adyton.sdk.units import parse_nrlc, parse_uint

OrderT = RequestOrder | AppOrder | DatasetOrder | WorkerpoolOrder

_BARE_TEE_KINDS: Final = (OrderKind.DATASET, OrderKind.REQUEST)
_OWN_KEYS: Final = ("salt", "sign")  # of an order that was signed before; both are made anew


def order_name(kind: OrderKind) -> str:
    """``apporder`` and so on, as files and the market name them."""
    return f"{kind}order"


def parse_tag(value: object, *, allow_bare_tee: bool = False) -> Bytes32:
    """A tag from names (a list, or a text with commas) or from its 32 bytes.

    Raises:
        TagError: unknown names or bits, or a combination that no order may have.
        ValidationError: another type.
    """
    if value in (None, "", [], ZERO_BYTES32):
        return ZERO_BYTES32
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValidationError("tag must be an array of names, a text with commas, or a bytes32 hexstring")
    try:
        is_word = isinstance(value, str) and value[:2] in ("0x", "0X")
        tag = parse_bytes32(str(value)) if is_word else tags.encode(name.strip() for name in names)
        tags.decode(tag)
    except InputError as error:
        raise ValidationError(f"{','.join(names)[:200]} is not a valid tag. {error}", hint=error.hint) from error
    return tags.validate(tag, allow_bare_tee=allow_bare_tee)


def create(session: Session, kind: OrderKind, description: Mapping[str, Any]) -> Order:
    """An unsigned order from a template's or the user's values.

    Args:
        session: resolves names; its wallet is the default requester and beneficiary.
        kind: which order.
        description: members as ``iexec.json`` and options give them; absent ones get the official defaults.

    Raises:
        ValidationError: an unknown key or a malformed value.
    """
    order_class = kind.order_class
    fields = dict(order_class.struct_fields())
    unknown = [key for key in description if key not in fields and key not in _OWN_KEYS]
    if unknown:
        raise ValidationError(f"this field has unspecified keys: {', '.join(unknown)}")
    values = {name: _value(session, kind, name, abi, description.get(name)) for name, abi in fields.items()}
    if kind is OrderKind.REQUEST:
        values["params"] = request_params.normalise(
            description.get("params", {}), tag=values["tag"], callback=values["callback"]
        )
    return cast("Callable[..., Order]", order_class)(**values)


def sign(session: Session, order: Order) -> Order:
    """The order with fresh salt and signature of the session's wallet.

    Raises:
        ClientError: the wallet is not who must sign it.
    """
    signer = signer_of(session, order)
    if signer != session.wallet.address:
        who = "requester" if order.kind is OrderKind.REQUEST else "resource owner"
        raise ClientError(f"Invalid order signer, must be the {who}", code="sdk.order.signer")
    return sign_order(order, session.wallet, session.domain)


def signer_of(session: Session, order: Order) -> Address:
    """Whose signature makes the order valid: the resource's owner, or the requester."""
    if isinstance(order, RequestOrder):
        return order.requester
    return assets.owner(session, resource_of(order))


def resource_of(order: Order) -> Address:
    """The resource that the order is about; of a request, its app."""
    return cast("Address", getattr(order, "app" if order.kind is OrderKind.REQUEST else order.kind.value))


def check_registered(session: Session, order: Order) -> None:
    """Refuse an order about a resource that does not exist; of a request, only its app is looked at.

    Raises:
        ClientError: not deployed.
    """
    kind = AssetKind.APP if order.kind is OrderKind.REQUEST else AssetKind(order.kind)
    assets.check_registered(session, kind, resource_of(order))


def remaining(session: Session, order: Order) -> int:
    """How much of the order's volume is left on the chain."""
    if order.values()["volume"] == 0:
        return 0
    return max(0, int(order.values()["volume"]) - session.hub.view_consumed(order.hash(session.domain)))


def cancel(session: Session, order: Order) -> Bytes32:
    """Close an order on the chain, for ever; returns the transaction's hash.

    Raises:
        ClientError: there is nothing left of it.
        NodeError: the transaction failed.
    """
    if remaining(session, order) == 0:
        raise ClientError(f"{order_name(order.kind)} already canceled", code="sdk.order.consumed")
    call = HubCalls.manage_order(order.kind, order, OrderOperation.CLOSE)
    return session.send(session.chain.hub, call).transaction_hash


def read_signed(kind: OrderKind, document: Any) -> Order:  # noqa: ANN401  # JSON of a file or the market
    """A signed order from ``orders.json`` or the market.

    Raises:
        OrderError: malformed.
    """
    return kind.order_class.from_json(document)


def _value(session: Session, kind: OrderKind, name: str, abi: str, given: Any) -> Any:  # noqa: ANN401
    try:
        match abi:
            case "address":
                return _address(session, name, given)
            case "bytes32":
                return parse_tag(given, allow_bare_tee=kind in _BARE_TEE_KINDS) if name == "tag" else ZERO_BYTES32
            case "uint256":
                return _number(kind, name, given)
            case _:
                return ""  # params depend on the others
    except InputError as error:
        if isinstance(error, tags.TagError | ValidationError):
            raise
        raise ValidationError(f"{name}: {error}") from error


def _address(session: Session, name: str, given: object) -> Address:
    if given in (None, ""):
        return session.wallet.address if name in ("requester", "beneficiary") else ZERO_ADDRESS
    if not isinstance(given, str):
        raise ValidationError(f"{name} is not a valid ethereum address")
    return session.resolve(given)


def _number(kind: OrderKind, name: str, given: object) -> int:
    if given is None:
        if name == "category" and kind in (OrderKind.WORKERPOOL, OrderKind.REQUEST):
            raise ValidationError("category is a required field")
        return 1 if name == "volume" else 0
    value = parse_nrlc(str(given)) if name.endswith("price") else parse_uint(given, name)
    if name == "volume" and value == 0:
        raise ValidationError("volume must be a strict positive integer")
    return value
