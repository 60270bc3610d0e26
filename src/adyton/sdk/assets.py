"""Apps, datasets and workerpools on the chain: deploy, find, describe."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from adyton.base.errors import InputError, NotFoundError
from adyton.base.jsontext import parse_json
from adyton.base.types import Address, Bytes32, parse_address, parse_bytes32
from adyton.chain import multiaddr
from adyton.chain.calldata import CREATE, PREDICT, AssetKind
from adyton.chain.contracts import owner_of, read_app, read_dataset, read_workerpool
from adyton.chain.events import AssetTransfer, decode
from adyton.chain.rpc import Receipt
from adyton.sdk.errors import ClientError, ObjectNotFoundError, ValidationError
from adyton.sdk.session import Session

__all__ = ["AssetKind", "Deployed", "asset_of_user", "check_registered", "count", "deploy", "describe", "framework_of"]

APP_TYPES: Final = ("DOCKER",)
_FRAMEWORKS: Final = ("scone", "gramine", "tdx")
_INDEX = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Deployed:
    """A resource that now exists."""

    address: Address
    transaction_hash: Bytes32


def deploy(session: Session, kind: AssetKind, description: Mapping[str, Any]) -> Deployed:
    """Create a resource as ``iexec.json`` describes it.

    Raises:
        ValidationError: the description is malformed.
        ClientError: the same resource exists already, or the chain gave no address back.
        NodeError: the transaction failed.
    """
    arguments = _arguments(session, kind, description)
    registry = session.registries.of(kind)
    predicted = parse_address(session.rpc.read(registry.address, PREDICT[kind], *arguments))
    if registry.is_registered(predicted):
        raise ClientError(f"{kind.capitalize()} already deployed at address {predicted}", code="sdk.asset.exists")
    receipt = session.send(registry.address, CREATE[kind](*arguments))
    return Deployed(_created(receipt, registry.address), receipt.transaction_hash)


def count(session: Session, kind: AssetKind, owner: Address) -> int:
    """How many resources of a kind an account owns."""
    return session.registries.of(kind).balance_of(owner)


def asset_of_user(session: Session, kind: AssetKind, owner: Address, index: str) -> Address:
    """The resource number ``index`` (decimal text) of an account.

    Raises:
        ClientError: the account has not so many.
        ValidationError: not a number.
    """
    if not _INDEX.fullmatch(index):
        raise ValidationError(f"{index[:80]} is not a valid uint256")
    try:
        return session.registries.of(kind).token_of_owner(owner, int(index))
    except NotFoundError as error:
        raise ClientError(f"{kind} not deployed", code="sdk.asset.index") from error


def check_registered(session: Session, kind: AssetKind, address: Address) -> None:
    """Refuse an address that the hub's registry does not know.

    Raises:
        ClientError: not deployed.
    """
    if not session.registries.of(kind).is_registered(address):
        raise ClientError(f"No {kind} deployed at address {address}", code="sdk.asset.unknown")


def owner(session: Session, address: Address) -> Address:
    """The owner of a resource."""
    return owner_of(session.rpc, address)


def describe(session: Session, kind: AssetKind, address: Address) -> dict[str, str]:
    """Everything that a resource's contract says, by the official names.

    Raises:
        ObjectNotFoundError: there is no such resource at the address.
    """
    if not session.registries.of(kind).is_registered(address):
        raise ObjectNotFoundError(kind, address, session.chain.chain_id)
    return _DESCRIBE[kind](session, address)


def framework_of(session: Session, app: Address) -> str | None:
    """The TEE framework of an app's enclave in lower case; ``tdx`` when it describes none, None when it is unclear."""
    text = read_app(session.rpc, app).mrenclave
    if not text:
        return "tdx"
    try:
        document = parse_json(text)
        framework = str(document["framework"]).lower()
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return framework if framework in _FRAMEWORKS else None


def _describe_app(session: Session, address: Address) -> dict[str, str]:
    info = read_app(session.rpc, address)
    return {
        "appChecksum": info.checksum,
        "appMREnclave": info.mrenclave.decode(errors="replace"),
        "appMultiaddr": multiaddr.to_text(info.multiaddr),
        "appName": info.name,
        "appType": info.type,
        "owner": info.owner,
        "registry": info.registry,
    }


def _describe_dataset(session: Session, address: Address) -> dict[str, str]:
    info = read_dataset(session.rpc, address)
    return {
        "datasetChecksum": info.checksum,
        "datasetMultiaddr": multiaddr.to_text(info.multiaddr),
        "datasetName": info.name,
        "owner": info.owner,
        "registry": info.registry,
    }


def _describe_workerpool(session: Session, address: Address) -> dict[str, str]:
    info = read_workerpool(session.rpc, address)
    return {
        "schedulerRewardRatioPolicy": str(info.reward_ratio),
        "workerStakeRatioPolicy": str(info.stake_ratio),
        "workerpoolDescription": info.description,
        "owner": info.owner,
        "registry": info.registry,
    }


_DESCRIBE: Final = {
    AssetKind.APP: _describe_app,
    AssetKind.DATASET: _describe_dataset,
    AssetKind.WORKERPOOL: _describe_workerpool,
}


def _arguments(session: Session, kind: AssetKind, description: Mapping[str, Any]) -> tuple[Any, ...]:
    """The creation call's arguments.

    Raises:
        ValidationError: a missing, unknown or malformed key.
    """
    fields = _ALLOWED[kind]
    unknown = [key for key in description if key not in fields]
    if unknown:
        raise ValidationError(f"this field has unspecified keys: {', '.join(unknown)}")
    account = session.resolve(_text(description, "owner"))
    if kind is AssetKind.WORKERPOOL:
        return account, _text(description, "description")
    name = _text(description, "name")
    location = multiaddr.to_bytes(_text(description, "multiaddr"))
    checksum = _checksum(description)
    if kind is AssetKind.DATASET:
        return account, name, location, checksum
    app_type = _text(description, "type")
    if app_type not in APP_TYPES:
        raise ValidationError(f"{app_type} is not a valid type")
    return account, name, app_type, location, checksum, _enclave(description.get("mrenclave"))


_ALLOWED: Final = {
    AssetKind.APP: ("owner", "name", "type", "multiaddr", "checksum", "mrenclave"),
    AssetKind.DATASET: ("owner", "name", "multiaddr", "checksum"),
    AssetKind.WORKERPOOL: ("owner", "description"),
}


def _text(description: Mapping[str, Any], key: str) -> str:
    value = description.get(key)
    if value is None:
        raise ValidationError(f"{key} is a required field")
    if not isinstance(value, str):
        raise ValidationError(f"{key} must be a `string` type, but the final value was: `{json.dumps(value)[:200]}`.")
    return value


def _checksum(description: Mapping[str, Any]) -> Bytes32:
    try:
        return parse_bytes32(_text(description, "checksum"))
    except InputError as error:
        raise ValidationError(f"{description['checksum'][:80]} is not a bytes32 hexstring") from error


def _enclave(value: Any) -> bytes:  # noqa: ANN401  # JSON of the project file
    """The app's enclave description as it goes on the chain: compact JSON in UTF-8; empty when there is none."""
    if value in (None, ""):
        return b""
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except ValueError as error:
            raise ValidationError("mrenclave should be a valid JSON string") from error
    if not isinstance(value, dict):
        raise ValidationError("mrenclave must be an object")
    _check_enclave(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _check_enclave(value: Mapping[str, Any]) -> None:
    framework = str(value.get("framework")).lower()
    if framework not in _FRAMEWORKS:
        raise ValidationError("framework is not a valid TEE framework")
    required = (
        ("heapSize", "entrypoint", "fingerprint", "version") if framework == "scone" else ("fingerprint", "version")
    )
    for key in required:
        if value.get(key) in (None, ""):
            raise ValidationError(f"{key} is a required field")
    unknown = [key for key in value if key not in (*required, "framework")]
    if unknown:
        raise ValidationError(f'Unknown key "{", ".join(unknown)}" in mrenclave')
    for key in required:
        if key != "heapSize" and not isinstance(value[key], str):
            raise ValidationError(f"{key} must be a `string` type")
    heap = value.get("heapSize", 0)
    if not isinstance(heap, int) or isinstance(heap, bool) or heap < 0:
        raise ValidationError("heapSize must be a positive integer")


def _created(receipt: Receipt, registry: Address) -> Address:
    """The new resource: the token that the registry minted in this transaction."""
    for log in receipt.logs:
        if log.address == registry:
            event = decode(log)
            if isinstance(event, AssetTransfer):
                return event.asset
    raise ClientError("the registry reported no new resource", code="sdk.asset.no_event")
