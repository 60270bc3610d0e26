"""Who keeps the database key, in a file that several processes share: the CAS's own rules without a CAS."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from adyton.base.files import write_private
from adyton.base.secret import Secret
from adyton.cas.client.answers import EnclaveKeys
from adyton.cas.releasing.keyring import KeyExchangeRefusedError, KeyRing
from adyton.sms.store.keyexchange import KeyExchangeError, KeyStateError


class KeyKeeper:
    """A :class:`adyton.sms.store.keyexchange.KeyExchange` over a file.

    Attributes:
        answers: whether it can be reached.
        steps: called with the name of every step, before and after it is taken.
    """

    def __init__(self, file: Path, key: Secret[bytes]) -> None:
        self._file = file
        self.answers = True
        self.steps: Callable[[str], None] = lambda _step: None
        if not file.exists():
            write_private(file, json.dumps(KeyRing(1, key, 1).to_plain()).encode())

    @property
    def ring(self) -> KeyRing:
        return KeyRing.from_plain(json.loads(self._file.read_bytes()))

    def keys(self) -> EnclaveKeys:
        return self._take("show", lambda ring: ring)

    def begin(self) -> EnclaveKeys:
        return self._take("begin", KeyRing.begin)

    def commit(self, generation: int) -> EnclaveKeys:
        return self._take("commit", lambda ring: ring.commit(generation))

    def abort(self, generation: int) -> EnclaveKeys:
        return self._take("abort", lambda ring: ring.abort(generation))

    def _take(self, step: str, change: Callable[[KeyRing], KeyRing]) -> EnclaveKeys:
        self.steps(f"before {step}")
        if not self.answers:
            raise KeyExchangeError(f"the CAS did not {step}")
        with self._alone():
            try:
                ring = change(self.ring)
            except KeyExchangeRefusedError as error:
                raise KeyStateError(error.message) from error
            write_private(self._file, json.dumps(ring.to_plain()).encode())
        self.steps(f"after {step}")
        pending = 0 if ring.pending is None else ring.begun
        return EnclaveKeys(ring.generation, ring.key, pending, ring.pending, 1, "00" * 32)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
