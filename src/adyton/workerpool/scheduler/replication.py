"""What depends on whether a scheduler is alone with its database or one of several replicas."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Engine

from adyton.base.clock import Clock
from adyton.base.secret import Secret
from adyton.chain.wallet import Wallet
from adyton.workerpool.scheduler.bell import Bell
from adyton.workerpool.scheduler.leases import Leases, ProcessLeases, TableLeases
from adyton.workerpool.scheduler.relay import Relay
from adyton.workerpool.scheduler.settings import SchedulerSettings
from adyton.workerpool.scheduler.sharedchallenges import SharedChallenges
from adyton.workerpool.scheduler.tokens import ChallengeBook, Challenges

_TOKEN_DOMAIN: Final = b"adyton/scheduler-tokens/1/"


@dataclass(frozen=True, slots=True)
class Replication:
    """How this scheduler lives with others.

    Attributes:
        leases: who works on what.
        token_key: authenticates workers' tokens, at every replica.
        relay: rings the bells of other replicas; None when there are none.
    """

    leases: Leases
    token_key: Secret[bytes]
    relay: Relay | None
    _engine: Engine
    _clock: Clock

    @classmethod
    def open(
        cls, settings: SchedulerSettings, engine: Engine, wallet: Wallet, bells: Mapping[str, Bell], clock: Clock
    ) -> Replication:
        """By the kind of database: the embedded one is for one process, a server's for any number.

        Raises:
            SecondSchedulerError: the embedded database is in use.
        """
        if engine.dialect.name == "sqlite":
            # A restarted scheduler does not know its tokens any more: workers log in again and ask what they missed.
            return cls(ProcessLeases(settings.data_folder), Secret(os.urandom(128)), None, engine, clock)
        replica = secrets.token_hex(8)
        tag = hmac.new(wallet.private_key().reveal(), _TOKEN_DOMAIN + settings.pool.lower().encode(), hashlib.sha512)
        relay = Relay(engine, replica, bells)
        return cls(TableLeases(engine, replica), Secret(tag.digest()), relay, engine, clock)

    def challenges(self, purpose: str, lifetime: timedelta) -> Challenges:
        """A book of challenges that every replica knows."""
        if self.relay is None:
            return ChallengeBook(lifetime, self._clock)
        return SharedChallenges(self._engine, purpose, lifetime, self._clock)

    def close(self) -> None:
        """Leave the others."""
        if self.relay is not None:
            self.relay.close()
        self.leases.close()
