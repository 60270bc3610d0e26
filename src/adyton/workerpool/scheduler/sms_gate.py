"""The scheduler's dealings with secret management services: which one, is it the right kind, challenge, proxy URL."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from adyton.base.errors import AdytonError
from adyton.base.log import get_logger
from adyton.base.secret import Secret
from adyton.base.types import Address, Bytes32
from adyton.chain.tags import Framework
from adyton.chain.wallet import Wallet
from adyton.sms.client import SmsClient
from adyton.sms.wire import RESULT_PROXY_URL

_log = get_logger("scheduler.sms")


class SmsUnknownError(AdytonError):
    """No secret management service of the deal's framework is configured, or it runs another framework."""

    code = "scheduler.sms.unknown"
    hint = "set sms_scone, sms_gramine or sms_tdx to a service of that framework"


class SmsGate:
    """One client for each configured service.

    Args:
        urls: framework to URL.
        result_proxy_url: what is pushed as the pool owner's default result proxy.
        wallet: the pool owner.
    """

    def __init__(self, urls: Mapping[Framework, str], result_proxy_url: str, wallet: Wallet) -> None:
        self._urls = dict(urls)
        self._clients = {url: SmsClient(url, timeout_s=10) for url in set(urls.values())}
        self._proxy_url = result_proxy_url
        self._wallet = wallet
        self._lock = threading.Lock()
        self._verified: set[tuple[str, str]] = set()
        self._pushed: set[str] = set()

    def close(self) -> None:
        """Release the connections."""
        for client in self._clients.values():
            client.close()

    def url_for(self, framework: str) -> str:
        """The URL of the service for a framework, after it confirmed that it runs it.

        Raises:
            SmsUnknownError: none configured, or another framework.
            UnavailableError: it does not answer.
        """
        url = next((found for name, found in self._urls.items() if name == framework), None)
        if url is None:
            raise SmsUnknownError(f"no SMS is configured for {framework}")
        if (url, framework) not in self._verified:
            answer = self._clients[url].framework()
            if answer != framework:
                raise SmsUnknownError(f"the SMS at {url} runs {answer}, not {framework}")
            self._verified.add((url, framework))
        return url

    def challenge(self, url: str, task_id: Bytes32) -> Address:
        """The enclave challenge of a task.

        Raises:
            ChallengeRefusedError: the service refuses.
            UnavailableError: it does not answer.
        """
        return self._client(url).challenge(task_id, self._wallet)

    def push_proxy_url(self, url: str) -> None:
        """Store the pool's result proxy with the service, once in this process; failures are logged and tried again."""
        with self._lock:
            if url in self._pushed:
                return
            client = self._client(url)
            try:
                client.push_web2(RESULT_PROXY_URL, Secret(self._proxy_url), self._wallet, force_update=True)
            except AdytonError as error:
                _log.warning("result proxy url not pushed", sms=url, code=error.code, detail=error.message)
                return
            self._pushed.add(url)

    def _client(self, url: str) -> SmsClient:
        # A task keeps the URL that it was received with, also when the settings have changed since.
        if url not in self._clients:
            self._clients[url] = SmsClient(url, timeout_s=10)
        return self._clients[url]
