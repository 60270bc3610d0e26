"""Entering what the chain already has into a replicate whose worker never said so (pool reference 2.7)."""

from __future__ import annotations

from typing import Any, Final

from adyton.workerpool.replicate import TRANSITIONS, ReplicateStatus
from adyton.workerpool.scheduler.onchain import OnChain
from adyton.workerpool.scheduler.state import PoolState, Replicate

_S = ReplicateStatus
_TO_COMPUTED: Final = (
    _S.CREATED,
    _S.STARTING,
    _S.STARTED,
    _S.APP_DOWNLOADING,
    _S.APP_DOWNLOADED,
    _S.DATA_DOWNLOADING,
    _S.DATA_DOWNLOADED,
    _S.COMPUTING,
    _S.COMPUTED,
)
REVEAL_PATH: Final = (
    *_TO_COMPUTED,
    _S.CONTRIBUTING,
    _S.CONTRIBUTED,
    _S.REVEALING,
    _S.REVEALED,
    _S.RESULT_UPLOAD_REQUESTED,
    _S.RESULT_UPLOADING,
    _S.RESULT_UPLOADED,
)
FINALIZE_PATH: Final = (*_TO_COMPUTED, _S.CONTRIBUTE_AND_FINALIZE_ONGOING, _S.CONTRIBUTE_AND_FINALIZE_DONE)


def missing_statuses(replicate: Replicate, target: ReplicateStatus) -> tuple[ReplicateStatus, ...]:
    """The successful statuses between where a replicate is and ``target``, in order (pure).

    Empty when the replicate is not on the way to ``target``.
    """
    path = REVEAL_PATH if target in REVEAL_PATH else FINALIZE_PATH
    if replicate.relevant not in path or target not in path:
        return ()
    return path[path.index(replicate.relevant) + 1 : path.index(target) + 1]


def fill(state: PoolState, onchain: OnChain, replicate: Replicate, target: ReplicateStatus) -> Replicate:
    """Move a replicate to ``target`` through everything that it never reported; as far as the machine allows."""
    for status in missing_statuses(replicate, target):
        if status not in TRANSITIONS[replicate.status]:
            break
        moved = state.move(replicate, status, changes=_known(onchain, replicate, status))
        if moved is None:
            break
        replicate = moved
    return replicate


def _known(onchain: OnChain, replicate: Replicate, status: ReplicateStatus) -> dict[str, Any]:
    if status is _S.CONTRIBUTED:
        contribution = onchain.contribution(replicate.task_id, replicate.wallet)
        return {"contributionHash": contribution.result_hash, "workerWeight": onchain.weight(replicate.wallet)}
    if status is _S.CONTRIBUTE_AND_FINALIZE_DONE:
        task = onchain.task(replicate.task_id)
        return {} if task is None else {"resultLink": task.results.decode("utf-8", errors="replace")}
    return {}
