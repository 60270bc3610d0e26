"""Settings of the market."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from adyton.base.settings import Settings


class MarketSettings(Settings):
    """All settings; ``ADYTON_MARKET_<NAME>`` in the environment.

    Attributes:
        host: address to listen on.
        port: TCP port.
        database: SQLite file or ``postgresql://`` URL; one database belongs to one chain.
        rpc_url: JSON-RPC of the chain.
        chain_id: its id.
        hub: address of the PoCo hub.
        start_block: first block to read when the database is new.
        poll_s: seconds between looks at the chain.
        batch_blocks: blocks in one look.
        confirmations: depth at which a block is read a second time, in case a reorganisation changed it.
        max_open_orders: open orders of one kind that one wallet may have published.
        rate_limit_max: requests of one address in a period; programs on this machine are not counted.
        rate_limit_period_s: the period.
    """

    env_prefix: ClassVar[str] = "ADYTON_MARKET_"

    host: str = "127.0.0.1"
    port: int = Field(default=3000, ge=0, le=65535)
    database: Path | str
    rpc_url: str
    chain_id: int = Field(default=134, gt=0)
    hub: str
    start_block: int = Field(default=0, ge=0)
    poll_s: float = Field(default=1.0, gt=0, le=3600)
    batch_blocks: int = Field(default=1000, ge=1, le=100_000)
    confirmations: int = Field(default=10, ge=0, le=10_000)
    max_open_orders: int = Field(default=50, ge=1)
    rate_limit_max: int = Field(default=100, ge=1)
    rate_limit_period_s: float = Field(default=60.0, gt=0)
