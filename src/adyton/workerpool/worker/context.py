"""What all steps of a worker share: settings, chain, images, runner, platform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adyton.base.clock import Clock
from adyton.workerpool.access import ChainAccess
from adyton.workerpool.worker.board import StageBoard
from adyton.workerpool.worker.durations import Durations
from adyton.workerpool.worker.images import ImageStore
from adyton.workerpool.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from adyton.platform.client import PlatformClient
    from adyton.runner.profile import Runner


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """One worker's means.

    Attributes:
        settings: its settings.
        access: the chain, with the worker's account.
        images: images on disk.
        board: what stage enclaves told.
        durations: how long stages took.
        runner: runs standard applications; None where no runner is installed.
        platform: runs enclaves; None when the worker has no platform.
        proxy_url: result proxy where the deal names none.
        clock: current time.
    """

    settings: WorkerSettings
    access: ChainAccess
    images: ImageStore
    board: StageBoard
    durations: Durations
    runner: Runner | None
    platform: PlatformClient | None
    proxy_url: str
    clock: Clock
