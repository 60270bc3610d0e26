"""Bounded downloads of datasets and input files: plain URLs, and multiaddresses through an IPFS gateway.

The bytes come from outside and are limited in size and time; whoever needs integrity compares a checksum afterwards.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2

from adyton.base.errors import AdytonError

MAX_INPUT_BYTES: Final = 1 << 30  # a category's machine has to hold it beside the application
_CONNECT_S: Final = 10.0
_READ_S: Final = 30.0
_MAX_REDIRECTS: Final = 5
_CHUNK: Final = 1 << 18


class DownloadError(AdytonError):
    """A file could not be fetched: no answer, an error status, too large, too slow or empty."""

    code = "compute.download"


def input_file_name(url: str) -> str:
    """The name under which an application finds an input file: ``0x`` + SHA-256 of the URL's UTF-8 bytes."""
    return "0x" + hashlib.sha256(url.encode()).hexdigest()


def resolve(location: str, gateway: str) -> str:
    """The URL of a file: a plain URL as it is, ``/ipfs/…`` and ``/p2p/…`` under the gateway.

    Raises:
        DownloadError: neither, or a multiaddress without a gateway.
    """
    if location.startswith(("/ipfs/", "/p2p/")):
        if not gateway:
            raise DownloadError(f"{location} needs an IPFS gateway and none is configured", code="compute.no_gateway")
        return gateway.rstrip("/") + "/ipfs/" + location.split("/", 2)[2]
    if urlsplit(location).scheme not in {"http", "https"}:
        raise DownloadError(f"{location!r} is neither an http(s) URL nor an IPFS multiaddress")
    return location


def download(
    location: str, target: Path, *, gateway: str = "", max_bytes: int = MAX_INPUT_BYTES, timeout_s: float = 300
) -> None:
    """Fetch ``location`` into ``target``, which appears only when complete.

    Args:
        location: URL or multiaddress.
        target: the file to write.
        gateway: base URL of the IPFS gateway.
        max_bytes: larger files are refused while they arrive.
        timeout_s: limit for the whole download, seconds.

    Raises:
        DownloadError: not fetched; ``target`` does not exist.
    """
    url = resolve(location, gateway)
    partial = target.with_name(target.name + ".part")
    try:
        _stream(url, partial, max_bytes, time.monotonic() + timeout_s)
        partial.replace(target)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise DownloadError(f"{location} cannot be downloaded: {type(error).__name__}") from error
    finally:
        partial.unlink(missing_ok=True)


def _stream(url: str, target: Path, max_bytes: int, deadline: float) -> None:
    timeout = httpx2.Timeout(_READ_S, connect=_CONNECT_S)
    with (
        httpx2.Client(timeout=timeout, follow_redirects=True, max_redirects=_MAX_REDIRECTS, trust_env=False) as client,
        client.stream("GET", url) as response,
        target.open("wb") as sink,
    ):
        if response.status_code // 100 != 2:
            raise DownloadError(f"{url} answered {response.status_code}")
        size = 0
        for chunk in response.iter_bytes(_CHUNK):
            size += len(chunk)
            if size > max_bytes:
                raise DownloadError(f"{url} has more than {max_bytes} bytes")
            if time.monotonic() > deadline:
                raise DownloadError(f"{url} did not arrive in time")
            sink.write(chunk)
        if size == 0:
            raise DownloadError(f"{url} is empty")
