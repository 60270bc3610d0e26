"""Ringing the bells of other replicas: PostgreSQL's LISTEN and NOTIFY carry every ring to every replica.

A long-poll may wait at one replica for what happens at another. A ring that is lost, because a connection was down, is
made up for by the next ring or by the end of the poll: whatever is waited for lies in the database.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Engine, text

from adyton.base.log import get_logger
from adyton.workerpool.scheduler.bell import Bell

_log = get_logger("scheduler.relay")

CHANNEL: Final = "adyton_scheduler"
_WAIT_S: Final = 0.5
_PAUSE_S: Final = 1.0
_GATHER_S: Final = 0.01  # rings within this time are one notification


class Relay:
    """Passes rings on, in both directions.

    Args:
        engine: the PostgreSQL database.
        replica: name of this replica; its own rings are not rung again.
        bells: bells by their names.
    """

    def __init__(self, engine: Engine, replica: str, bells: Mapping[str, Bell]) -> None:
        self._engine = engine
        self._replica = replica
        self._bells = dict(bells)
        self._stop = threading.Event()
        self._condition = threading.Condition()
        self._rung: set[str] = set()
        for name, bell in self._bells.items():
            bell.relay = lambda each=name: self._pass_on(each)
        self.listening = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._send)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Pass nothing on any more."""
        self._stop.set()
        with self._condition:
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def _pass_on(self, name: str) -> None:
        with self._condition:
            self._rung.add(name)
            self._condition.notify_all()

    def _send(self) -> None:
        while not self._stop.is_set():
            with self._condition:
                while not self._rung and not self._stop.is_set():
                    self._condition.wait()
            self._stop.wait(_GATHER_S)
            with self._condition:
                rung, self._rung = self._rung, set()
            try:
                with self._engine.begin() as db:
                    for name in rung:
                        notice = {"channel": CHANNEL, "payload": f"{self._replica} {name}"}
                        db.execute(text("SELECT pg_notify(:channel, :payload)"), notice)
            except Exception as error:  # noqa: BLE001  # a border: the database may be away for a moment
                _log.warning("rings not passed on", error=type(error).__name__)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
                    db.exec_driver_sql(f"LISTEN {CHANNEL}")
                    driver: Any = db.connection.driver_connection
                    self.listening.set()
                    while not self._stop.is_set():
                        for notice in driver.notifies(timeout=_WAIT_S):
                            self._ring(notice.payload)
            except Exception as error:  # noqa: BLE001  # a border: the database may be away for a moment
                _log.warning("not listening to other replicas", error=type(error).__name__)
                self._stop.wait(_PAUSE_S)
            for bell in self._bells.values():  # what was rung meanwhile is not known
                bell.ring_here()

    def _ring(self, payload: str) -> None:
        replica, _, name = payload.partition(" ")
        bell = self._bells.get(name)
        if replica != self._replica and bell is not None:
            bell.ring_here()
