"""One-time values: random text given to a subject, good once and for a limited time (login challenges).

A subject that asks again before using its value gets the same one, so rows are bounded by the number of subjects;
expired rows go when new ones are made. Taking a value is one ``DELETE``: of two takers, one gets it.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Column, ColumnElement, Engine, Float, MetaData, String, Table, delete, insert, select
from sqlalchemy.exc import IntegrityError

from adyton.base.clock import Clock, utc_now

VALUE_CHARS = 32
_ALPHABET = string.ascii_letters + string.digits


class OneTimeValues:
    """The outstanding values of one kind.

    Args:
        engine: database.
        kind: table prefix, for example ``market_challenge``.
        lifetime: how long a value is good.
        clock: source of the time.
    """

    def __init__(self, engine: Engine, kind: str, lifetime: timedelta, clock: Clock = utc_now) -> None:
        self._engine = engine
        self._lifetime = lifetime
        self._clock = clock
        metadata = MetaData()
        self._rows = Table(
            f"{kind}_value",
            metadata,
            Column("subject", String(128), primary_key=True),
            Column("handle", String(128), nullable=False),
            Column("value", String(VALUE_CHARS), nullable=False),
            Column("expires", Float, nullable=False),
        )
        metadata.create_all(engine)

    def issue(self, subject: str, handle_of: Callable[[str], str]) -> str:
        """The subject's value, made when it has none that is good.

        Args:
            subject: to whom it is given.
            handle_of: from a value to the text by which it will be presented, for example its hash.
        """
        now = self._clock()
        value = "".join(secrets.choice(_ALPHABET) for _ in range(VALUE_CHARS))
        row = {"subject": subject, "handle": handle_of(value), "value": value, "expires": self._expiry(now)}
        try:
            with self._engine.begin() as db:
                db.execute(delete(self._rows).where(self._rows.c.expires <= now.timestamp()))
                kept = db.scalar(select(self._rows.c.value).where(self._rows.c.subject == subject))
                if kept is not None:
                    return str(kept)
                db.execute(insert(self._rows).values(row))
        except IntegrityError:  # another request of the same subject was first
            return self.issue(subject, handle_of)
        return value

    def find(self, subject: str, handle: str) -> str | None:
        """The good value of ``subject`` that is presented as ``handle``; it stays good."""
        query = select(self._rows.c.value).where(*self._match(subject, handle))
        with self._engine.connect() as db:
            found = db.scalar(query)
        return None if found is None else str(found)

    def take(self, subject: str, handle: str) -> bool:
        """Use the value up; False when it is unknown, expired, or was taken by another."""
        with self._engine.begin() as db:
            return db.execute(delete(self._rows).where(*self._match(subject, handle))).rowcount == 1

    def _match(self, subject: str, handle: str) -> tuple[ColumnElement[bool], ...]:
        now = self._clock().timestamp()
        return self._rows.c.subject == subject, self._rows.c.handle == handle, self._rows.c.expires > now

    def _expiry(self, now: datetime) -> float:
        return (now + self._lifetime).timestamp()
