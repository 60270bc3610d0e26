"""Challenges in the database, for replicas: one gives a challenge out, another may get the signature over it."""

from __future__ import annotations

import base64
import os
from datetime import timedelta
from typing import Final

from sqlalchemy import Column, Engine, MetaData, String, Table, delete, func, select

from adyton.base.clock import Clock
from adyton.base.db import insert_if_absent, lock_for_writing
from adyton.base.types import Address
from adyton.workerpool.scheduler.tokens import MAX_CHALLENGES

_META: Final = MetaData()
_CHALLENGE: Final = Table(
    "scheduler_challenge",
    _META,
    Column("purpose", String(16), primary_key=True),
    Column("wallet", String(42), primary_key=True),
    Column("text", String(64), nullable=False),
    Column("expires", String(40), nullable=False, index=True),
)


class SharedChallenges:
    """One random challenge for each wallet and purpose, the same until it expires or is used up.

    Args:
        engine: the shared database.
        purpose: what the signature is for; challenges of one purpose mean nothing for another.
        lifetime: how long one stays.
        clock: current time.
        limit: how many there may be; the oldest make room.
    """

    def __init__(
        self, engine: Engine, purpose: str, lifetime: timedelta, clock: Clock, limit: int = MAX_CHALLENGES
    ) -> None:
        self._engine = engine
        self._purpose = purpose
        self._lifetime = lifetime
        self._clock = clock
        self._limit = limit
        _META.create_all(engine)

    def get(self, wallet: Address) -> str:
        """The wallet's challenge: base64 of 32 random bytes."""
        known = self.peek(wallet)
        if known is not None:
            return known
        now = self._clock()
        with self._engine.begin() as db:
            lock_for_writing(db)  # two replicas must not give out two
            ours = _CHALLENGE.c.purpose == self._purpose
            db.execute(delete(_CHALLENGE).where(ours, _CHALLENGE.c.expires <= now.isoformat()))
            count = db.execute(select(func.count()).where(ours)).scalar_one()
            if count >= self._limit:
                oldest = select(_CHALLENGE.c.wallet).where(ours).order_by(_CHALLENGE.c.expires).limit(1)
                db.execute(delete(_CHALLENGE).where(ours, _CHALLENGE.c.wallet.in_(oldest)))
            fresh = {
                "purpose": self._purpose,
                "wallet": wallet,
                "text": base64.b64encode(os.urandom(32)).decode(),
                "expires": (now + self._lifetime).isoformat(),
            }
            insert_if_absent(db, _CHALLENGE, fresh)
            mine = select(_CHALLENGE.c.text).where(ours, _CHALLENGE.c.wallet == wallet)
            return str(db.execute(mine).scalar_one())

    def peek(self, wallet: Address) -> str | None:
        """The wallet's challenge if it has one."""
        query = select(_CHALLENGE.c.text).where(
            _CHALLENGE.c.purpose == self._purpose,
            _CHALLENGE.c.wallet == wallet,
            _CHALLENGE.c.expires > self._clock().isoformat(),
        )
        with self._engine.connect() as db:
            found = db.execute(query).scalar_one_or_none()
        return None if found is None else str(found)

    def burn(self, wallet: Address, text: str) -> bool:
        """Use up a challenge; False when another call was first."""
        with self._engine.begin() as db:
            gone = db.execute(
                delete(_CHALLENGE).where(
                    _CHALLENGE.c.purpose == self._purpose, _CHALLENGE.c.wallet == wallet, _CHALLENGE.c.text == text
                )
            )
        return gone.rowcount == 1
