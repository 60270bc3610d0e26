"""How orders, deals and categories look to clients (market reference, sections 7 and 10)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from adyton.base.types import ZERO_ADDRESS
from adyton.chain.events import CreateCategory, OrdersMatched
from adyton.chain.models import Category, Deal, Party
from adyton.chain.orders import DatasetOrder
from adyton.chain.rpc import Block
from adyton.market.repo import Published
from adyton.market.rules import is_bulk

Document = dict[str, Any]


def order_document(published: Published, chain_id: int) -> Document:
    """An order as lists and publishing show it; numbers are JSON numbers."""
    document: Document = {
        "orderHash": published.order_hash,
        "order": {**published.order.values(), "sign": published.order.sign},
        "chainId": chain_id,
        "remaining": published.remaining,
        "status": published.status,
        "publicationTimestamp": published.published_at,
        "signer": published.signer,
    }
    if isinstance(published.order, DatasetOrder):
        document["bulk"] = is_bulk(published.order)
    return document


def single_order_document(published: Published, chain_id: int) -> Document:
    """An order as looking it up by its hash shows it: the chain id is text there, and ``bulk`` is absent."""
    document = order_document(published, chain_id) | {"chainId": str(chain_id)}
    document.pop("bulk", None)
    return document


def deal_row(event: OrdersMatched, deal: Deal, block: Block, chain_id: int) -> Document:
    """The row of a deal, with its document."""
    document = {
        "dealid": event.deal_id,
        "chainId": chain_id,
        "app": _party(deal.app),
        "dataset": _party(deal.dataset),
        "workerpool": _party(deal.workerpool),
        "requester": deal.requester,
        "beneficiary": deal.beneficiary,
        "callback": deal.callback,
        "appHash": event.app_hash,
        "datasetHash": event.dataset_hash,
        "workerpoolHash": event.workerpool_hash,
        "requestHash": event.request_hash,
        "params": deal.params,
        "volume": event.volume,
        "category": deal.category,
        "tag": deal.tag,
        "trust": deal.trust,
        "startTime": deal.start_time,
        "botFirst": deal.bot_first,
        "botSize": deal.bot_size,
        "schedulerRewardRatio": deal.scheduler_reward_ratio,
        "workerStake": deal.worker_stake,
        "blockNumber": block.number,
        "blockTimestamp": iso_time(datetime.fromtimestamp(block.timestamp, UTC)),
        "transactionHash": event.log.transaction_hash,
    }
    return {
        "deal_id": event.deal_id,
        "block_number": block.number,
        "category": deal.category,
        "app": deal.app.pointer,
        "dataset": deal.dataset.pointer,
        "workerpool": deal.workerpool.pointer,
        "requester": deal.requester,
        "beneficiary": deal.beneficiary,
        "app_owner": deal.app.owner,
        "dataset_owner": deal.dataset.owner if deal.dataset else ZERO_ADDRESS,
        "workerpool_owner": deal.workerpool.owner,
        "app_hash": event.app_hash,
        "dataset_hash": event.dataset_hash,
        "workerpool_hash": event.workerpool_hash,
        "request_hash": event.request_hash,
        "workerpool_price": f"{deal.workerpool.price:080d}",
        "document": json.dumps(document),
    }


def category_document(event: CreateCategory, category: Category, block: Block, chain_id: int) -> Document:
    """A category as lists show it."""
    return {
        "catid": event.index,
        "chainId": chain_id,
        "name": category.name,
        "description": category.description,
        "workClockTimeRef": category.work_clock_time_ref,
        "transactionHash": event.log.transaction_hash,
        "blockNumber": block.number,
        "blockTimestamp": iso_time(datetime.fromtimestamp(block.timestamp, UTC)),
    }


def iso_time(time: datetime) -> str:
    """UTC with milliseconds, ``2025-11-19T10:03:38.068Z``."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


def _party(party: Party) -> Document:
    return {"pointer": party.pointer, "price": party.price, "owner": party.owner}
