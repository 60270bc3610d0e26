"""Requests for evidence as they travel to who answers them: the platform, or an enclave's agent for its command.

The other end is :class:`adyton.platform.client.EnclavePlatform`. Light on purpose: every enclave's agent imports this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adyton.attestation.formats.sgx import REPORT_DATA_BYTES, TargetInfo
from adyton.base.errors import InputError
from adyton.platform.protocol import Platform


def answer_evidence(enclave: Platform, request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a request for a quote, a report or the enclave's identity.

    Raises:
        InputError: another request, or one with values that cannot be read.
        PlatformError: the platform refuses or cannot be reached.
    """
    match request:
        case {"op": "quote", "report_data": str(data), **rest} if not rest:
            return {"value": enclave.quote(_report_data(data)).hex()}
        case {"op": "report", "target_info": str(target), "report_data": str(data), **rest} if not rest:
            return {"value": enclave.report(TargetInfo.parse(read_hex(target)), _report_data(data)).hex()}
        case {"op": "identity", **rest} if not rest:
            return {"value": enclave.identity().to_bytes().hex()}
    raise InputError("there is no such request here", code="platform.channel.request")


def read_hex(text: str) -> bytes:
    """Bytes from hex.

    Raises:
        InputError: ``platform.channel.request``.
    """
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InputError("a value is not hex text", code="platform.channel.request") from error


def _report_data(text: str) -> bytes:
    data = read_hex(text)
    if len(data) != REPORT_DATA_BYTES:
        raise InputError(
            f"report data has {REPORT_DATA_BYTES} bytes, not {len(data)}", code="platform.channel.report_data"
        )
    return data
