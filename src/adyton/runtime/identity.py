"""The service's identity files: private key with the CAS's short-lived certificate, kept fresh while a program runs.

``/run/adyton/identity.pem`` holds the key and the certificate over it, ``/run/adyton/cas-ca.pem`` the root of the CAS.
Renewal is a whole new attestation: new nonce, new key, new quote. Files are replaced atomically, so a program that
opens them anew for each connection always has a matching pair.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.x509 import load_pem_x509_certificate

from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError
from adyton.base.files import write_private
from adyton.cas.client.answers import ServiceConfig

IDENTITY_FOLDER: Final = Path("/run/adyton")
_MIN_WAIT_S: Final = 5.0


def write(config: ServiceConfig, folder: Path = IDENTITY_FOLDER) -> None:
    """Put the identity files into ``folder``, readable by this enclave's user only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(folder / "identity.pem", config.private_key.reveal() + config.certificate.encode())
    write_private(folder / "cas-ca.pem", config.ca.encode())


def next_renewal_s(certificate_pem: str, now: datetime) -> float:
    """Seconds until the middle of the certificate's life; later, a tenth of its life, so that failures are retried."""
    certificate = load_pem_x509_certificate(certificate_pem.encode())
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    life_s = (end - start).total_seconds()
    until_middle_s = life_s / 2 - (now - start).total_seconds()
    return max(_MIN_WAIT_S, until_middle_s if until_middle_s > 0 else life_s / 10)


class Renewal:
    """Renews the identity files in a thread until stopped.

    Args:
        fetch: attests again, given the configuration that is in place, and returns a new one.
        config: the configuration that is in place.
        report: called with the error of a failed attempt; the next one follows.
        folder: where the files are.
        clock: time for judging the certificate's age.
    """

    def __init__(
        self,
        fetch: Callable[[ServiceConfig], ServiceConfig],
        config: ServiceConfig,
        report: Callable[[AdytonError], None],
        folder: Path = IDENTITY_FOLDER,
        clock: Clock = utc_now,
    ) -> None:
        self._fetch = fetch
        self._config = config
        self._report = report
        self._folder = folder
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="identity-renewal", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(1)

    def _loop(self) -> None:
        while not self._stop.wait(next_renewal_s(self._config.certificate, self._clock())):
            try:
                config = self._fetch(self._config)
            except AdytonError as error:
                self._report(error)
            else:
                write(config, self._folder)
                self._config = config
