"""The border to the network services: their failures become errors with the official names and texts (section 0.6)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from adyton.base.errors import UnavailableError
from adyton.base.jsontext import parse_json
from adyton.sdk.errors import ApiCallError, ClientError


@dataclass(frozen=True, slots=True)
class Api:
    """A kind of service, by what official clients call it."""

    label: str
    error_name: str


MARKET: Final = Api("Market API", "MarketCallError")
SMS: Final = Api("SMS", "SmsCallError")
RESULT_PROXY: Final = Api("Result Proxy", "ResultProxyCallError")
IPFS_GATEWAY: Final = Api("IPFS gateway", "IpfsGatewayCallError")
COMPASS: Final = Api("Compass API", "CompassCallError")
WORKERPOOL: Final = Api("Workerpool API", "WorkerpoolCallError")


@contextmanager
def calling(api: Api, url: str) -> Iterator[None]:
    """Translate the errors of a typed client of ``api``.

    Args:
        api: which kind of service is called.
        url: its configured URL, as errors show it.

    Raises:
        ApiCallError: no answer, or a fault of the service.
        ClientError: the service refused the request (4xx) and says why.
    """
    from adyton.web.client import AnswerError  # noqa: PLC0415  # 100 ms that commands on files need not pay

    try:
        yield
    except AnswerError as error:
        if error.status >= 500:
            message = f"{api.label} error: Server at {url} encountered an internal error"
            raise ApiCallError(api.error_name, message) from error
        raise ClientError(f"API error: {_reason(error.status, error.body)}", code="sdk.service.refused") from error
    except UnavailableError as error:
        message = f"{api.label} error: Connection to {url} failed with a network error"
        raise ApiCallError(api.error_name, message, hint=error.hint or error.message) from error


def _reason(status: int, body: str) -> str:
    try:
        document = parse_json(body)
    except ValueError:
        return str(status)
    reason = document.get("error") or document.get("detail") if isinstance(document, dict) else None
    return str(reason or status)[:500]
