"""What a deal says about its tasks, read from the chain once and then a value: all decisions of the pool start here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from adyton.base.errors import AdytonError
from adyton.base.jsontext import parse_json
from adyton.base.types import ZERO_ADDRESS, Bytes32
from adyton.chain import multiaddr, tags
from adyton.chain.contracts import Hub, read_app, read_dataset
from adyton.chain.hashing import task_id
from adyton.chain.models import CONTRIBUTION_DEADLINE_RATIO, FINAL_DEADLINE_RATIO, AppInfo, DatasetInfo, Deal
from adyton.chain.params import DealParams, parse

STORAGE_IPFS: Final = "ipfs"


class DealUnreadableError(AdytonError):
    """A deal, its category or one of its assets cannot be read (yet)."""

    code = "workerpool.deal.unreadable"


@dataclass(frozen=True, slots=True)
class DealDescription:
    """One deal with everything that running its tasks needs.

    Attributes:
        deal_id: its id.
        deal: as frozen at the match.
        app: the application.
        dataset: the dataset, or None.
        period: the category's time; one stage may run this long, deadlines are multiples of it.
        params: parsed request parameters.
    """

    deal_id: Bytes32
    deal: Deal
    app: AppInfo
    dataset: DatasetInfo | None
    period: timedelta
    params: DealParams

    @property
    def framework(self) -> tags.Framework | None:
        """The TEE framework that the deal's tag selects."""
        return tags.framework(self.deal.tag)

    @property
    def is_tee(self) -> bool:
        """Whether an enclave runs the task."""
        return self.framework is not None

    @property
    def is_callback(self) -> bool:
        """Whether the result goes to a contract instead of storage."""
        return self.deal.callback != ZERO_ADDRESS

    @property
    def finalizes(self) -> bool:
        """Whether the worker contributes and finalizes in one transaction: trust 1 and an enclave."""
        return self.is_tee and self.deal.trust <= 1

    @property
    def needs_pre_compute(self) -> bool:
        """Whether a TEE task has anything to fetch (SMS reference, section 5)."""
        return self.dataset is not None or bool(self.params.input_files) or bool(self.params.bulk_cid)

    @property
    def contribution_deadline(self) -> datetime:
        """When contributions end; counted from the deal's start."""
        return _moment(self.deal.start_time) + CONTRIBUTION_DEADLINE_RATIO * self.period

    @property
    def final_deadline(self) -> datetime:
        """When the task can only be claimed."""
        return _moment(self.deal.start_time) + FINAL_DEADLINE_RATIO * self.period

    @property
    def memory(self) -> int:
        """Bytes that the app's enclave reserves, as the app's owner wrote on the chain; 0 when it is not said."""
        try:
            heap = parse_json(self.app.mrenclave).get("heapSize", 0) if self.is_tee else 0
        except (ValueError, AttributeError):
            return 0
        return heap if isinstance(heap, int) and not isinstance(heap, bool) and heap > 0 else 0

    @property
    def image(self) -> str:
        """The app's image reference."""
        return multiaddr.to_text(self.app.multiaddr)

    @property
    def dataset_location(self) -> str:
        """Where the dataset is: URL or multiaddress; empty without one."""
        return multiaddr.to_text(self.dataset.multiaddr) if self.dataset is not None else ""

    def task_id(self, index: int) -> Bytes32:
        """The id of one of its tasks."""
        return task_id(self.deal_id, index)


@dataclass(frozen=True, slots=True)
class TaskDescription:
    """One task of a deal."""

    deal: DealDescription
    index: int

    @property
    def task_id(self) -> Bytes32:
        """The task's id."""
        return self.deal.task_id(self.index)


def read_deal(hub: Hub, deal_id: Bytes32) -> DealDescription:
    """Read a deal and its assets.

    Raises:
        DealUnreadableError: no such deal yet, or an asset that is none.
        UnavailableError: the node does not answer.
    """
    deal = hub.view_deal(deal_id)
    if deal is None or deal.start_time <= 0:
        raise DealUnreadableError(f"deal {deal_id} is not on the chain")
    try:
        app = read_app(hub.rpc, deal.app.pointer)
        dataset = read_dataset(hub.rpc, deal.dataset.pointer) if deal.dataset else None
        category = hub.view_category(deal.category)
    except AdytonError as error:
        if error.code == "chain.rpc.unavailable":
            raise
        raise DealUnreadableError(f"deal {deal_id}: {error.message}") from error
    period = timedelta(seconds=category.work_clock_time_ref)
    return DealDescription(deal_id, deal, app, dataset, period, parse(deal.params))


def read_task(hub: Hub, chain_task_id: Bytes32) -> TaskDescription:
    """Read the deal of an initialized task.

    Raises:
        DealUnreadableError: the task is not initialized, or as :func:`read_deal`.
        UnavailableError: the node does not answer.
    """
    task = hub.view_task(chain_task_id)
    if task is None:
        raise DealUnreadableError(f"task {chain_task_id} is not initialized")
    return TaskDescription(read_deal(hub, task.deal_id), task.idx)


def _moment(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
