"""Reading whole requests: published orders, unpublish bodies, and the filters of each listing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from adyton.base.types import Address, Bytes32
from adyton.chain.orders import Order, OrderKind
from adyton.market import fields
from adyton.market.errors import ValidationError

Query = Mapping[str, Any]

_COUNT: Final = fields.integer(0)
_POSITIVE: Final = fields.integer(1)
_READERS: Final = {"address": fields.address, "uint256": _COUNT, "bytes32": fields.bytes32, "string": fields.text}
TARGETS: Final = ("unpublish_orderHash", "unpublish_last", "unpublish_all")
DEFAULT_PAGE_SIZE: Final = 20

# per kind: own parties (exact match), restricted parties (with a strict flag), and the other filters
_EXACT: Final = {
    OrderKind.APP: ("app",),
    OrderKind.DATASET: ("dataset",),
    OrderKind.WORKERPOOL: ("workerpool",),
    OrderKind.REQUEST: ("app", "dataset", "requester", "beneficiary"),
}
_RESTRICTED: Final = {
    OrderKind.APP: ("dataset", "workerpool", "requester"),
    OrderKind.DATASET: ("app", "workerpool", "requester"),
    OrderKind.WORKERPOOL: ("app", "dataset", "requester"),
    OrderKind.REQUEST: ("workerpool",),
}
DEAL_PARTIES: Final = {
    "requester": "requester",
    "beneficiary": "beneficiary",
    "app": "app",
    "dataset": "dataset",
    "workerpool": "workerpool",
    "appOwner": "app_owner",
    "datasetOwner": "dataset_owner",
    "workerpoolOwner": "workerpool_owner",
}
DEAL_HASHES: Final = {
    "apporderHash": "app_hash",
    "datasetorderHash": "dataset_hash",
    "workerpoolorderHash": "workerpool_hash",
    "requestorderHash": "request_hash",
}


@dataclass(frozen=True, slots=True)
class Paging:
    """Which stretch of a listing is wanted."""

    offset: int
    limit: int

    @classmethod
    def read(cls, query: Query) -> Paging:
        """From ``pageIndex`` and ``pageSize``, or the old ``page``, which is an offset.

        Raises:
            ValidationError: out of range.
        """
        size = fields.optional("pageSize", query.get("pageSize"), fields.integer(10, 1000))
        index = fields.optional("pageIndex", query.get("pageIndex"), _COUNT)
        page = fields.optional("page", query.get("page"), _COUNT)
        if size is None and index is None and page is not None:
            return cls(page, DEFAULT_PAGE_SIZE)
        limit = size or DEFAULT_PAGE_SIZE
        return cls((index or 0) * limit, limit)


@dataclass(frozen=True, slots=True)
class Restriction:
    """Which restricted orders a listing shows for one party.

    ``party`` None shows unrestricted orders only; ``everything`` shows all; ``strict`` leaves unrestricted ones out.
    """

    party: Address | None = None
    strict: bool = False
    everything: bool = False


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """A listing's conditions on open orders; absent ones are None."""

    kind: OrderKind
    paging: Paging
    exact: Mapping[str, Address] = field(default_factory=dict)
    owner: Address | None = None
    restrictions: Mapping[str, Restriction] = field(default_factory=dict)
    min_tag: Bytes32 | None = None
    max_tag: Bytes32 | None = None
    min_volume: int | None = None
    category: int | None = None
    min_trust: int | None = None
    max_trust: int | None = None
    bulk_only: bool = False


@dataclass(frozen=True, slots=True)
class Unpublish:
    """What to withdraw: one order by hash, or the newest or all of a resource."""

    target: str
    order_hash: Bytes32 | None
    resource: Address | None


def read_order(kind: OrderKind, body: Any) -> Order:  # noqa: ANN401  # outside JSON
    """The order in a publish body.

    Raises:
        ValidationError: the first rule that it breaks.
    """
    document = body.get("order", {}) if isinstance(body, Mapping) else {}
    if document is None:
        raise ValidationError("order is a required field")
    if not isinstance(document, Mapping):
        shown = fields.text("order", document) if isinstance(document, str) else document
        raise ValidationError(f'order must be a `object` type, but the final value was: `"{shown}"`.')
    sign = fields.required("order.sign", document.get("sign"), fields.signature)
    order = kind.order_class
    values: dict[str, Any] = {"sign": sign}
    for name, abi_type in order.struct_fields():
        reader: fields.Reader[Any] = _POSITIVE if name == "volume" else _READERS[abi_type]
        values[name] = fields.required(f"order.{name}", document.get(name), reader)
    return order(**values)


def read_unpublish(kind: OrderKind, body: Any) -> Unpublish:  # noqa: ANN401
    """An unpublish body.

    Raises:
        ValidationError: the first rule that it breaks.
    """
    document = body if isinstance(body, Mapping) else {}
    target = document.get("target", TARGETS[0])
    if target not in TARGETS:
        raise ValidationError(f"target must be one of the following values: {', '.join(TARGETS)}")
    name = "requester" if kind is OrderKind.REQUEST else str(kind)
    read_hash = fields.required if target == TARGETS[0] else fields.optional
    read_resource = fields.optional if target == TARGETS[0] else fields.required
    order_hash = read_hash("orderHash", document.get("orderHash"), fields.bytes32)
    resource = read_resource(name, document.get(name), fields.address)
    return Unpublish(target, order_hash, resource)


def read_filter(kind: OrderKind, query: Query) -> OrderFilter:
    """The conditions of an order listing.

    Raises:
        ValidationError: the first rule that the query breaks.
    """
    own = kind if kind is not OrderKind.REQUEST else None
    owner = fields.optional(f"{own}Owner", query.get(f"{own}Owner"), fields.address) if own else None
    exact = {
        name: found
        for name in _EXACT[kind]
        if (found := fields.optional(name, query.get(name), fields.address_or_any)) is not None
    }
    if kind in {OrderKind.APP, OrderKind.DATASET} and owner is None and query.get(str(kind)) is None:
        raise ValidationError(f"{kind} or {kind}Owner is required")
    has_category = kind in {OrderKind.WORKERPOOL, OrderKind.REQUEST}
    return OrderFilter(
        kind=kind,
        paging=Paging.read(query),
        exact=exact,
        owner=owner,
        restrictions={name: _restriction(name, query) for name in _RESTRICTED[kind]},
        min_tag=fields.optional("minTag", query.get("minTag"), fields.bytes32),
        max_tag=fields.optional("maxTag", query.get("maxTag"), fields.bytes32),
        min_volume=fields.optional("minVolume", query.get("minVolume"), _POSITIVE),
        category=fields.optional("category", query.get("category"), _COUNT) if has_category else None,
        min_trust=_only(kind is OrderKind.WORKERPOOL, "minTrust", query),
        max_trust=_only(kind is OrderKind.REQUEST, "maxTrust", query),
        bulk_only=kind is OrderKind.DATASET
        and bool(fields.optional("bulkOnly", query.get("bulkOnly"), fields.boolean)),
    )


def read_deal_filter(query: Query) -> dict[str, str | int]:
    """The conditions of the deal listing, by column.

    Raises:
        ValidationError: the first rule that the query breaks.
    """
    found: dict[str, str | int | None] = {"category": fields.optional("category", query.get("category"), _COUNT)}
    for name, column in DEAL_PARTIES.items():
        found[column] = fields.optional(name, query.get(name), fields.address)
    for name, column in DEAL_HASHES.items():
        found[column] = fields.optional(name, query.get(name), fields.bytes32)
    return {column: value for column, value in found.items() if value is not None}


def _restriction(name: str, query: Query) -> Restriction:
    flag = f"is{name.capitalize()}Strict"
    strict = bool(fields.optional(flag, query.get(flag), fields.boolean))
    if query.get(name) is None:
        return Restriction()
    party = fields.address_or_any(name, query[name])
    return Restriction(everything=True) if party is None else Restriction(party, strict)


def _only(applies: bool, name: str, query: Query) -> int | None:
    return fields.optional(name, query.get(name), _COUNT) if applies else None
