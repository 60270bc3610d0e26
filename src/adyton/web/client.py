"""The HTTP client that all rooms use to call services: bounded time, bounded answers, typed errors."""

from __future__ import annotations

from typing import Any, Final

import httpx2

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.jsontext import parse_json

MAX_ANSWER_BYTES: Final = 64 << 20  # larger downloads stream to a file
_OF_THE_TRANSFER: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})  # undone by then


class AnswerError(AdytonError):
    """A service answered with an error status.

    Attributes:
        status: HTTP status code.
        body: the answer's text, cut to 2,000 characters.
    """

    code = "service.answer"

    def __init__(self, message: str, *, status: int, body: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = body[:2000]


class HttpClient:
    """Calls one service.

    Args:
        base_url: where it is; endpoints' paths are appended.
        name: what to call the service in errors.
        timeout_s: seconds for connect and for each read.
        options: passed on to ``httpx2.Client`` (``verify``, ``cert``, ``transport``).
    """

    def __init__(self, base_url: str, name: str, *, timeout_s: float = 10, **options: Any) -> None:  # noqa: ANN401
        self.base_url = base_url.rstrip("/")
        self.name = name
        self._client = httpx2.Client(timeout=timeout_s, follow_redirects=False, trust_env=False, **options)

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        expect: tuple[int, ...] = (200, 201, 204),
        **options: Any,  # noqa: ANN401
    ) -> httpx2.Response:
        """Send one request and return the answer when its status is in ``expect``.

        Raises:
            UnavailableError: no connection, time-out, an answer that broke off or is longer than
                :data:`MAX_ANSWER_BYTES`, or an address that is none.
            AnswerError: any other status.
        """
        try:
            with self._client.stream(method, self.base_url + path, **options) as stream:
                response = self._read(stream)
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            raise UnavailableError(
                f"{self.name} at {self.base_url} does not answer: {type(error).__name__}",
                hint="is the network up? 'adyton status' shows its services",
            ) from error
        if response.status_code not in expect:
            raise AnswerError(
                f"{self.name} answered {response.status_code} to {method} {path.partition('?')[0]}",
                status=response.status_code,
                body=response.text,
            )
        return response

    def _read(self, stream: httpx2.Response) -> httpx2.Response:
        """The whole answer: a service that is not trusted yet must not fill this process's memory."""
        body = bytearray()
        for chunk in stream.iter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise UnavailableError(
                    f"{self.name} at {self.base_url} answers with more than {MAX_ANSWER_BYTES >> 20} MiB"
                )
        headers = [(name, value) for name, value in stream.headers.multi_items() if name not in _OF_THE_TRANSFER]
        return httpx2.Response(
            stream.status_code,
            headers=headers,
            content=bytes(body),
            request=stream.request,
            extensions=stream.extensions,
        )

    def json(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401  # JSON is any
        """Like :meth:`request`, decoding the JSON body.

        Raises:
            UnavailableError: as :meth:`request`, and for a body that is not JSON.
            AnswerError: as :meth:`request`.
        """
        response = self.request(method, path, **options)
        try:
            return parse_json(response.content)
        except ValueError as error:
            raise UnavailableError(f"{self.name} answered with something that is not JSON") from error
