"""What the PoCo contracts know: deals, tasks, contributions, accounts, categories, assets.

Members have the contract fields' names. Amounts are nRLC, times are seconds of Unix time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from adyton.base.types import ZERO_ADDRESS, Address, Bytes32

_PARTY: Final = "(address,address,uint256)"
DEAL_ABI: Final = (
    f"({_PARTY},{_PARTY},{_PARTY},uint256,uint256,bytes32,address,address,address,string,"
    "uint256,uint256,uint256,uint256,uint256,address)"
)
TASK_ABI: Final = (
    "(uint8,bytes32,uint256,uint256,uint256,uint256,uint256,bytes32,uint256,uint256,address[],bytes32,bytes,"
    "uint256,bytes)"
)
CONTRIBUTION_ABI: Final = "(uint8,bytes32,bytes32,address,uint256)"

CONTRIBUTION_DEADLINE_RATIO: Final = 7  # times the category's period, from the deal's start
REVEAL_DEADLINE_RATIO: Final = 2  # times the period, from consensus
FINAL_DEADLINE_RATIO: Final = 10  # times the period, from the deal's start
WORKERPOOL_STAKE_RATIO: Final = 30  # percent of the workerpool price that the pool owner locks per task


class TaskStatus(IntEnum):
    """Where a task is; UNSET until someone initializes it."""

    UNSET = 0
    ACTIVE = 1
    REVEALING = 2
    COMPLETED = 3
    FAILED = 4


class ContributionStatus(IntEnum):
    """Where one worker's contribution is."""

    UNSET = 0
    CONTRIBUTED = 1
    PROVED = 2
    REJECTED = 3


@dataclass(frozen=True, slots=True)
class Party:
    """One asset of a deal as frozen at the match; all zero where the deal has none."""

    pointer: Address
    owner: Address
    price: int

    def __bool__(self) -> bool:
        return self.pointer != ZERO_ADDRESS


@dataclass(frozen=True, slots=True)
class Deal:
    """Matched orders: ``bot_size`` tasks from index ``bot_first``."""

    app: Party
    dataset: Party
    workerpool: Party
    trust: int
    category: int
    tag: Bytes32
    requester: Address
    beneficiary: Address
    callback: Address
    params: str
    start_time: int
    bot_first: int
    bot_size: int
    worker_stake: int
    scheduler_reward_ratio: int
    sponsor: Address

    @classmethod
    def from_abi(cls, values: tuple[Any, ...]) -> Deal:
        """From the decoded tuple."""
        return cls(Party(*values[0]), Party(*values[1]), Party(*values[2]), *values[3:])

    @property
    def indexes(self) -> range:
        """The indexes of its tasks."""
        return range(self.bot_first, self.bot_first + self.bot_size)

    @property
    def price(self) -> int:
        """What one task costs its payer, nRLC."""
        return self.app.price + self.dataset.price + self.workerpool.price


@dataclass(frozen=True, slots=True)
class Task:
    """One task that has been initialized."""

    status: TaskStatus
    deal_id: Bytes32
    idx: int
    timeref: int
    contribution_deadline: int
    reveal_deadline: int
    final_deadline: int
    consensus_value: Bytes32
    reveal_counter: int
    winner_counter: int
    contributors: tuple[Address, ...]
    result_digest: Bytes32
    results: bytes
    results_timestamp: int
    results_callback: bytes

    @classmethod
    def from_abi(cls, values: tuple[Any, ...]) -> Task:
        """From the decoded tuple."""
        return cls(TaskStatus(values[0]), *values[1:])


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one worker committed to for one task."""

    status: ContributionStatus
    result_hash: Bytes32
    result_seal: Bytes32
    enclave_challenge: Address
    weight: int

    @classmethod
    def from_abi(cls, values: tuple[Any, ...]) -> Contribution:
        """From the decoded tuple."""
        return cls(ContributionStatus(values[0]), *values[1:])


@dataclass(frozen=True, slots=True)
class Account:
    """Money inside the hub: free ``stake`` and ``locked``, nRLC."""

    stake: int
    locked: int


@dataclass(frozen=True, slots=True)
class Category:
    """A size class of tasks; ``work_clock_time_ref`` is the period in seconds that deadlines are multiples of."""

    name: str
    description: str
    work_clock_time_ref: int


@dataclass(frozen=True, slots=True)
class AppInfo:
    """An app contract. ``mrenclave`` is UTF-8 JSON about the enclave, empty for an app without one."""

    owner: Address
    name: str
    type: str
    multiaddr: bytes
    checksum: Bytes32
    mrenclave: bytes
    registry: Address


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A dataset contract."""

    owner: Address
    name: str
    multiaddr: bytes
    checksum: Bytes32
    registry: Address


@dataclass(frozen=True, slots=True)
class WorkerpoolInfo:
    """A workerpool contract; ratios in percent."""

    owner: Address
    description: str
    stake_ratio: int
    reward_ratio: int
    registry: Address
