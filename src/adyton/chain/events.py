"""Events of the hub and the registries, from log records to typed values.

Each class says its contract event's signature and members; :data:`TOPICS` are the hashes of the signatures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar

from adyton.base.types import Address, Bytes32, parse_address
from adyton.chain import abi
from adyton.chain.rpc import Log


@dataclass(frozen=True, slots=True)
class Event:
    """What all events share: the record they were read from.

    Subclasses name the contract event in ``signature`` and have one member per argument, in the contract's order;
    ``indexed`` says which of them are topics.
    """

    signature: ClassVar[str]
    indexed: ClassVar[tuple[int, ...]] = ()

    log: Log


E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class OrdersMatched(Event):
    """A deal was made."""

    signature = "OrdersMatched(bytes32,bytes32,bytes32,bytes32,bytes32,uint256)"

    deal_id: Bytes32
    app_hash: Bytes32
    dataset_hash: Bytes32
    workerpool_hash: Bytes32
    request_hash: Bytes32
    volume: int


@dataclass(frozen=True, slots=True)
class SchedulerNotice(Event):
    """A deal was made for a workerpool."""

    signature = "SchedulerNotice(address,bytes32)"
    indexed = (0,)

    workerpool: Address
    deal_id: Bytes32


@dataclass(frozen=True, slots=True)
class DealSponsored(Event):
    """Somebody else than the requester pays a deal."""

    signature = "DealSponsored(bytes32,address)"

    deal_id: Bytes32
    sponsor: Address


@dataclass(frozen=True, slots=True)
class TaskInitialize(Event):
    """A task became active."""

    signature = "TaskInitialize(bytes32,address)"
    indexed = (0, 1)

    task_id: Bytes32
    workerpool: Address


@dataclass(frozen=True, slots=True)
class TaskContribute(Event):
    """A worker committed to a result."""

    signature = "TaskContribute(bytes32,address,bytes32)"
    indexed = (0, 1)

    task_id: Bytes32
    worker: Address
    result_hash: Bytes32


@dataclass(frozen=True, slots=True)
class TaskConsensus(Event):
    """A result hash has enough weight."""

    signature = "TaskConsensus(bytes32,bytes32)"
    indexed = (0,)

    task_id: Bytes32
    consensus: Bytes32


@dataclass(frozen=True, slots=True)
class TaskReveal(Event):
    """A worker showed its digest."""

    signature = "TaskReveal(bytes32,address,bytes32)"
    indexed = (0, 1)

    task_id: Bytes32
    worker: Address
    digest: Bytes32


@dataclass(frozen=True, slots=True)
class TaskReopen(Event):
    """A task waits for contributions again."""

    signature = "TaskReopen(bytes32)"
    indexed = (0,)

    task_id: Bytes32


@dataclass(frozen=True, slots=True)
class TaskFinalize(Event):
    """A task is complete."""

    signature = "TaskFinalize(bytes32,bytes)"
    indexed = (0,)

    task_id: Bytes32
    results: bytes


@dataclass(frozen=True, slots=True)
class TaskClaimed(Event):
    """A task failed and its payer was refunded."""

    signature = "TaskClaimed(bytes32)"
    indexed = (0,)

    task_id: Bytes32


@dataclass(frozen=True, slots=True)
class AccurateContribution(Event):
    """A worker's contribution was right."""

    signature = "AccurateContribution(address,bytes32)"
    indexed = (0, 1)

    worker: Address
    task_id: Bytes32


@dataclass(frozen=True, slots=True)
class FaultyContribution(Event):
    """A worker's contribution was wrong or not revealed."""

    signature = "FaultyContribution(address,bytes32)"
    indexed = (0, 1)

    worker: Address
    task_id: Bytes32


@dataclass(frozen=True, slots=True)
class ClosedAppOrder(Event):
    """An app order was cancelled."""

    signature = "ClosedAppOrder(bytes32)"

    order_hash: Bytes32


@dataclass(frozen=True, slots=True)
class ClosedDatasetOrder(Event):
    """A dataset order was cancelled."""

    signature = "ClosedDatasetOrder(bytes32)"

    order_hash: Bytes32


@dataclass(frozen=True, slots=True)
class ClosedWorkerpoolOrder(Event):
    """A workerpool order was cancelled."""

    signature = "ClosedWorkerpoolOrder(bytes32)"

    order_hash: Bytes32


@dataclass(frozen=True, slots=True)
class ClosedRequestOrder(Event):
    """A request order was cancelled."""

    signature = "ClosedRequestOrder(bytes32)"

    order_hash: Bytes32


@dataclass(frozen=True, slots=True)
class CreateCategory(Event):
    """A category was added."""

    signature = "CreateCategory(uint256,string,string,uint256)"

    index: int
    name: str
    description: str
    work_clock_time_ref: int


@dataclass(frozen=True, slots=True)
class Transfer(Event):
    """Stake (hub) or tokens (RLC) moved; amounts in nRLC."""

    signature = "Transfer(address,address,uint256)"
    indexed = (0, 1)

    sender: Address
    recipient: Address
    amount: int


@dataclass(frozen=True, slots=True)
class AssetTransfer(Event):
    """An asset changed hands, or was created (``sender`` is the zero address); emitted by its registry."""

    signature = "Transfer(address,address,uint256)"
    indexed = (0, 1, 2)

    sender: Address
    recipient: Address
    token_id: int

    @property
    def asset(self) -> Address:
        """The asset's address."""
        return parse_address(f"0x{self.token_id:040x}")


@dataclass(frozen=True, slots=True)
class Approval(Event):
    """An account let another use its stake or tokens."""

    signature = "Approval(address,address,uint256)"
    indexed = (0, 1)

    owner: Address
    spender: Address
    amount: int


@dataclass(frozen=True, slots=True)
class Lock(Event):
    """Free stake was locked."""

    signature = "Lock(address,uint256)"

    owner: Address
    amount: int


@dataclass(frozen=True, slots=True)
class Unlock(Event):
    """Locked stake became free."""

    signature = "Unlock(address,uint256)"

    owner: Address
    amount: int


@dataclass(frozen=True, slots=True)
class Reward(Event):
    """Stake was earned with a task or deal."""

    signature = "Reward(address,uint256,bytes32)"

    owner: Address
    amount: int
    reference: Bytes32


@dataclass(frozen=True, slots=True)
class Seize(Event):
    """Locked stake was taken for a task or deal."""

    signature = "Seize(address,uint256,bytes32)"

    owner: Address
    amount: int
    reference: Bytes32


@dataclass(frozen=True, slots=True)
class PolicyUpdate(Event):
    """A workerpool changed its ratios, in percent."""

    signature = "PolicyUpdate(uint256,uint256,uint256,uint256)"

    old_stake_ratio: int
    new_stake_ratio: int
    old_reward_ratio: int
    new_reward_ratio: int


TOPICS: Final[Mapping[str, Bytes32]] = MappingProxyType(
    {
        "OrdersMatched": Bytes32("0xd811b592ed0899225773e8933d8df64bd0b62761a9d7aad4ed5b22735f4610a4"),
        "SchedulerNotice": Bytes32("0x692ad61076dceddd0f1a861f737553dd61fc8501cf4190d29c4e90af6607f765"),
        "DealSponsored": Bytes32("0x81eec3d5401bb1693dbef61f0800bc16602905d6677d691c1262d6f08456e9a0"),
        "TaskInitialize": Bytes32("0x252992fb0468d68d6a5784ec03214f0d0a362083f2d7ebd157af43b017a22e06"),
        "TaskContribute": Bytes32("0x3fdb8d7797562d49a81078dbf7fa1771958ea452f8b13d1148383bd9506aecfb"),
        "TaskConsensus": Bytes32("0xf6d49bf3e05d33a4bc497d3c793fb5756388bb96b947cf51bb60aaecb0e022e3"),
        "TaskReveal": Bytes32("0x4b1763d473ac8fa80b4432ba90047e1b92444d8fabc55e6a002d9b1a316d7959"),
        "TaskReopen": Bytes32("0x3afe0f24796ce653c6ab1f3e7aba5ce564eece5e82aee724aff28253e829f07b"),
        "TaskFinalize": Bytes32("0x78ce8a8bc0fcb704e8ba3b3dbb36aa88002df8038128b4af2f27ef65db665044"),
        "TaskClaimed": Bytes32("0xcbc308b5f91040d2659a5201858344b0b583cd2f9e18e8470c2fa052c5b21ff8"),
        "AccurateContribution": Bytes32("0x9703f4589802246c80b822e63697180da799e363cd1b6fd9465a5e5574d53492"),
        "FaultyContribution": Bytes32("0xf868788948d55240774fdbad06555105ef20bbc70d1b7eccda982b65e11e79bb"),
        "ClosedAppOrder": Bytes32("0x7343f75be43aba524f85326508cd975d016ef7884676377366c69a7c32e30668"),
        "ClosedDatasetOrder": Bytes32("0xcf52e3228bc482a6656d8ab56c09888b1c5bf6aaadba0185e96a34836f2bb1d4"),
        "ClosedWorkerpoolOrder": Bytes32("0x145ad51e4496173bca15e24e7eb46f9ab3a10eea0497e2801a3a6806c06113a3"),
        "ClosedRequestOrder": Bytes32("0x582f43f2a741cbe708aae3b8d38a4efc3d09d7e81919697b3ca693f4c444cc05"),
        "CreateCategory": Bytes32("0x62bf08360c9d561749c54eaf4f8bf8cb6c8b6f4f40607bcec39a8172e714d25c"),
        "Transfer": Bytes32("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"),
        "AssetTransfer": Bytes32("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"),
        "Approval": Bytes32("0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925"),
        "Lock": Bytes32("0x625fed9875dada8643f2418b838ae0bc78d9a148a18eee4ee1979ff0f3f5d427"),
        "Unlock": Bytes32("0x6381d9813cabeb57471b5a7e05078e64845ccdb563146a6911d536f24ce960f1"),
        "Reward": Bytes32("0xc2aca55aa696938c7e95842e8939ca0fbb2120a3eeb8948cdcee2b70da566672"),
        "Seize": Bytes32("0x1bccc549c38561cd5b57f0db11ceb8dde1b0b6ee05ab5e155b51c7c5ba64becb"),
        "PolicyUpdate": Bytes32("0x61f37ef3a6d587ce2d6be79492e1fac570f2745787015db7ed95ad4397b05c1e"),
    }
)


_CLASSES: Final[tuple[type[Event], ...]] = (
    OrdersMatched,
    SchedulerNotice,
    DealSponsored,
    TaskInitialize,
    TaskContribute,
    TaskConsensus,
    TaskReveal,
    TaskReopen,
    TaskFinalize,
    TaskClaimed,
    AccurateContribution,
    FaultyContribution,
    ClosedAppOrder,
    ClosedDatasetOrder,
    ClosedWorkerpoolOrder,
    ClosedRequestOrder,
    CreateCategory,
    Transfer,
    AssetTransfer,
    Approval,
    Lock,
    Unlock,
    Reward,
    Seize,
    PolicyUpdate,
)
_EVENTS: Final = {(TOPICS[event.__name__], 1 + len(event.indexed)): event for event in _CLASSES}


def decode(log: Log) -> Event | None:
    """The event in a record, or None when it is none of these, or not in their form.

    Anybody's contract can emit a record of any form: check ``log.address`` before believing one.
    """
    event = _EVENTS.get((log.topics[0], len(log.topics))) if log.topics else None
    if event is None:
        return None
    kinds = abi.split_types(event.signature[event.signature.index("(") + 1 : -1])
    try:
        topics = b"".join(bytes.fromhex(word[2:]) for word in log.topics[1:])
        words = iter(abi.decode(f"({','.join(kinds[place] for place in event.indexed)})", topics))
        rest = [kind for place, kind in enumerate(kinds) if place not in event.indexed]
        values = iter(abi.decode(f"({','.join(rest)})", log.data))
    except abi.AbiError:
        return None
    members: list[Any] = [next(words if place in event.indexed else values) for place in range(len(kinds))]
    names = [field.name for field in fields(event) if field.name != "log"]
    return event(log=log, **dict(zip(names, members, strict=True)))


def find(logs: Iterable[Log], event: type[E], address: Address) -> list[E]:
    """The events of one kind that the contract at ``address`` emitted, for example in a receipt's logs."""
    decoded = (decode(log) for log in logs if log.address == address)
    return [each for each in decoded if isinstance(each, event)]
