"""The four kinds of orders: their fields in the contracts' struct order, hashes, signatures and JSON form.

An order's hash is its whole EIP-712 digest under the hub's domain; it is what ``viewConsumed`` and the events name.
``from_json`` is what bytes from outside go through: exactly the fields of the kind, numbers as decimal text or
integers, no rounding, no unknown members.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, replace
from enum import StrEnum
from typing import Any, ClassVar, Final, Self, TypeVar

from adyton.base.errors import InputError
from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, Address, Bytes32, parse_address, parse_bytes32, to_hex
from adyton.chain import eip712
from adyton.chain.eip712 import Domain
from adyton.chain.wallet import Wallet

MAX_PARAMS_BYTES: Final = 64 << 10  # of a request's params; the chain would take more, no service needs it
INFINITE_VOLUME: Final = 2**53 - 1  # the volume by which a dataset order says "for bulk processing"
NO_SIGNATURE: Final = "0x"


class OrderError(InputError):
    """A document is not an order of its kind."""

    code = "chain.order"


class OrderKind(StrEnum):
    """What is offered or asked for."""

    APP = "app"
    DATASET = "dataset"
    WORKERPOOL = "workerpool"
    REQUEST = "request"

    @property
    def order_class(self) -> type[Order]:
        """The class of orders of this kind."""
        return _CLASSES[self]


class Order:
    """What all kinds share; each kind is a frozen dataclass with its fields in struct order.

    ``sign`` is ``0x`` text, :data:`NO_SIGNATURE` where there is none.
    """

    __slots__ = ()

    kind: ClassVar[OrderKind]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    salt: Bytes32
    sign: str

    @classmethod
    def struct_fields(cls) -> tuple[tuple[str, str], ...]:
        """``(name, ABI type)`` in struct order, without ``sign``."""
        return _STRUCTS[cls.__name__]

    @property
    def resource(self) -> str:
        """The name of the member that says what the order is about and who must sign it."""
        return "requester" if self.kind is OrderKind.REQUEST else str(self.kind)

    def values(self) -> dict[str, Any]:
        """Field values in struct order, without ``sign``."""
        return {name: getattr(self, name) for name, _ in self.struct_fields()}

    def as_tuple(self) -> tuple[Any, ...]:
        """The tuple that contracts take: all fields in order and the signature's bytes."""
        return (*self.values().values(), bytes.fromhex(self.sign[2:]))

    def hash(self, domain: Domain) -> Bytes32:
        """The order hash: the EIP-712 digest."""
        return eip712.digest(domain, eip712.struct_hash(type(self).__name__, self.struct_fields(), self.values()))

    def typed_data(self, domain: Domain) -> eip712.TypedData:
        """The document that an external wallet would be asked to sign."""
        types = {"name": "string", "version": "string", "chainId": "uint256", "verifyingContract": "address"}
        name = type(self).__name__
        return eip712.TypedData(
            {"EIP712Domain": [(member, types[member]) for member in domain.members], name: self.struct_fields()},
            name,
            domain.members,
            self.values(),
        )

    def to_json(self) -> dict[str, str]:
        """The wire form: numbers as decimal text, everything else as text."""
        return {name: str(value) for name, value in self.values().items()} | {"sign": self.sign}

    @classmethod
    def from_json(cls, document: Any) -> Self:  # noqa: ANN401  # outside JSON
        """Read the wire form.

        Raises:
            OrderError: a missing, unknown or malformed member.
        """
        if not isinstance(document, Mapping):
            raise OrderError(f"an {cls.kind}order must be an object")
        names = {name for name, _ in cls.struct_fields()} | {"sign"}
        if set(document) != names:
            wrong = sorted(map(str, names.symmetric_difference(document)))
            raise OrderError(f"{cls.kind}order: missing or unknown members: {', '.join(wrong)[:300]}")
        values = {name: _read(name, kind, document[name]) for name, kind in cls.struct_fields()}
        return cls(**values, sign=_read_sign(document["sign"]))  # type: ignore[call-arg]  # every kind is a dataclass with these fields


@dataclass(frozen=True, slots=True)
class AppOrder(Order):
    """An app owner allows ``volume`` runs at ``appprice`` nRLC each."""

    kind = OrderKind.APP

    app: Address
    appprice: int = 0
    volume: int = 1
    tag: Bytes32 = ZERO_BYTES32
    datasetrestrict: Address = ZERO_ADDRESS
    workerpoolrestrict: Address = ZERO_ADDRESS
    requesterrestrict: Address = ZERO_ADDRESS
    salt: Bytes32 = ZERO_BYTES32
    sign: str = NO_SIGNATURE


@dataclass(frozen=True, slots=True)
class DatasetOrder(Order):
    """A dataset owner allows ``volume`` uses at ``datasetprice`` nRLC each."""

    kind = OrderKind.DATASET

    dataset: Address
    datasetprice: int = 0
    volume: int = 1
    tag: Bytes32 = ZERO_BYTES32
    apprestrict: Address = ZERO_ADDRESS
    workerpoolrestrict: Address = ZERO_ADDRESS
    requesterrestrict: Address = ZERO_ADDRESS
    salt: Bytes32 = ZERO_BYTES32
    sign: str = NO_SIGNATURE


@dataclass(frozen=True, slots=True)
class WorkerpoolOrder(Order):
    """A pool offers ``volume`` tasks of ``category`` at ``workerpoolprice`` nRLC each."""

    kind = OrderKind.WORKERPOOL

    workerpool: Address
    workerpoolprice: int = 0
    volume: int = 1
    tag: Bytes32 = ZERO_BYTES32
    category: int = 0
    trust: int = 0
    apprestrict: Address = ZERO_ADDRESS
    datasetrestrict: Address = ZERO_ADDRESS
    requesterrestrict: Address = ZERO_ADDRESS
    salt: Bytes32 = ZERO_BYTES32
    sign: str = NO_SIGNATURE


@dataclass(frozen=True, slots=True)
class RequestOrder(Order):
    """A requester asks for ``volume`` tasks at no more than the three prices, in nRLC per task."""

    kind = OrderKind.REQUEST

    app: Address
    appmaxprice: int = 0
    dataset: Address = ZERO_ADDRESS
    datasetmaxprice: int = 0
    workerpool: Address = ZERO_ADDRESS
    workerpoolmaxprice: int = 0
    requester: Address = ZERO_ADDRESS
    volume: int = 1
    tag: Bytes32 = ZERO_BYTES32
    category: int = 0
    trust: int = 0
    beneficiary: Address = ZERO_ADDRESS
    callback: Address = ZERO_ADDRESS
    params: str = ""
    salt: Bytes32 = ZERO_BYTES32
    sign: str = NO_SIGNATURE


_CLASSES: Final[dict[OrderKind, type[Order]]] = {
    order.kind: order for order in (AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder)
}
NULL_DATASET_ORDER: Final = DatasetOrder(dataset=ZERO_ADDRESS, volume=0)

OrderT = TypeVar("OrderT", bound=Order)


def sign_order(order: OrderT, wallet: Wallet, domain: Domain) -> OrderT:
    """The order with a fresh random salt and the wallet's signature over it."""
    salted = replace(order, salt=Bytes32(to_hex(os.urandom(32))))
    return replace(salted, sign=to_hex(wallet.sign_digest(salted.hash(domain))))


_ABI_TYPES: Final = {"Address": "address", "int": "uint256", "Bytes32": "bytes32", "str": "string"}


_STRUCTS: Final = {
    order.__name__: tuple((field.name, _ABI_TYPES[str(field.type)]) for field in fields(order) if field.name != "sign")
    for order in _CLASSES.values()
}


def _read(name: str, kind: str, value: Any) -> Any:  # noqa: ANN401
    try:
        match kind:
            case "address":
                return parse_address(value)
            case "bytes32":
                return parse_bytes32(value)
            case "uint256":
                return _read_number(value)
            case _:
                return _read_text(value)
    except InputError as error:
        raise OrderError(f"{name}: {error}") from error


def _read_number(value: Any) -> int:  # noqa: ANN401
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 78:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 256:
        raise InputError(f"{str(value)[:80]!r} is not a 256-bit unsigned decimal number")
    return value


def _read_text(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str) or len(value) > MAX_PARAMS_BYTES:
        raise InputError(f"not a text of at most {MAX_PARAMS_BYTES} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError("the text has a lone surrogate") from None
    return value


def _read_sign(value: Any) -> str:  # noqa: ANN401
    # 65 bytes from a wallet; contract accounts (ERC-1271) may need more.
    if isinstance(value, str) and value[:2] == "0x" and len(value) <= 4098 and len(value) % 2 == 0:
        try:
            return "0x" + bytes.fromhex(value[2:]).hex()
        except ValueError:
            pass
    raise OrderError("sign: not 0x hex text of even length")
