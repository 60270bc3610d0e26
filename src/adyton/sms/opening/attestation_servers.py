"""Which of the configured attestation servers a session names (mode ``maa``; protocol, section 5.3)."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Final

from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError
from adyton.sms.errors import AttestationServerError
from adyton.web.client import HttpClient

_PROBE: Final = "/.well-known/openid-configuration"
_TIMEOUT_S: Final = 3.0
_KEEP_S: Final = 60  # seconds for which a server that answered is not asked again


class AttestationServers:
    """Picks a server that answers, in random order; keeps to it for a minute.

    Args:
        urls: ``https`` URLs.
        shuffled: puts them in the order in which they are tried.
        clock: source of time.
        answers: asks one server; by default over the network.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        shuffled: Callable[[Sequence[str]], Sequence[str]] = lambda urls: random.sample(urls, len(urls)),
        clock: Clock = utc_now,
        answers: Callable[[str], bool] | None = None,
    ) -> None:
        self._urls = tuple(urls)
        self._shuffled = shuffled
        self._clock = clock
        self._answers = answers or _answers
        self._lock = threading.Lock()
        self._known: tuple[str, float] | None = None

    def pick(self) -> str:
        """The URL of a server that answers; the official service posts a session without one when none does.

        Raises:
            AttestationServerError: none does.
        """
        now = self._clock().timestamp()
        with self._lock:
            if self._known is not None and now < self._known[1]:
                return self._known[0]
        for url in self._shuffled(self._urls):
            if self._answers(url):
                with self._lock:
                    self._known = (url, now + _KEEP_S)
                return url
        raise AttestationServerError(f"none of {len(self._urls)} attestation servers answers")


def _answers(url: str) -> bool:
    client = HttpClient(url, "attestation server", timeout_s=_TIMEOUT_S)
    try:
        client.request("GET", _PROBE, expect=(200,))
    except AdytonError:
        return False
    finally:
        client.close()
    return True
