"""The ``params`` text of a request order: writing it as official clients do, reading it as the services do.

Writing is normalising: known keys are cast and checked, unknown ones dropped, the default storage added. The order of
keys is part of what is signed: kept when nothing had to change, else :data:`_KEYS`. Reading is another rule: text that
is not JSON, or has an unknown key, is as a whole the command line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from adyton.base.errors import InputError
from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, Address, Bytes32
from adyton.chain import tags
from adyton.chain.multiaddr import MultiaddrError, cid_multihash

PROVIDERS: Final = ("ipfs", "dropbox")
_KEYS: Final[tuple[str, ...]] = (
    "iexec_result_storage_proxy",
    "iexec_secrets",
    "iexec_result_storage_provider",
    "iexec_result_encryption",
    "bulk_cid",
    "iexec_input_files",
    "iexec_args",
)
_MAX_DEPTH: Final = 32  # of JSON; deal params are anybody's text, and the decoder's own guard is the stack
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_URL: Final = re.compile(r"https?://\S.*", re.DOTALL)
_INDEX: Final = re.compile(r"[1-9][0-9]*")
_TRUE: Final = frozenset({"true", "1"})
_FALSE: Final = frozenset({"false", "0"})


class ParamsError(InputError):
    """Params that no service would take as they are meant."""

    code = "chain.params"


@dataclass(frozen=True, slots=True)
class DealParams:
    """What a deal asks for, as read from its params.

    Attributes:
        args: command line of the app.
        input_files: URLs.
        result_encryption: the result must be encrypted for the beneficiary.
        result_storage_provider: ``ipfs``, ``dropbox``, or None when the deal does not say.
        result_storage_proxy: URL of a result proxy, or None.
        secrets: requester secret names by index text.
        bulk_cid: CID of a list of dataset orders, or None.
        understood: False when the whole text became ``args``; every other wish in it is then without effect.
    """

    args: str = ""
    input_files: tuple[str, ...] = ()
    result_encryption: bool = False
    result_storage_provider: str | None = None
    result_storage_proxy: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    bulk_cid: str | None = None
    understood: bool = True


def parse(text: str) -> DealParams:
    """Read a deal's params; never fails, see :attr:`DealParams.understood`."""
    try:
        given = _known(_load(text))
        return DealParams(
            args=_scalar(given.get("iexec_args", "")),
            input_files=tuple(_scalar(each) for each in _instance(given.get("iexec_input_files", []), list)),
            result_encryption=_truth(given.get("iexec_result_encryption", False)),
            result_storage_provider=_optional(given.get("iexec_result_storage_provider")),
            result_storage_proxy=_optional(given.get("iexec_result_storage_proxy")),
            secrets={key: _scalar(name) for key, name in _instance(given.get("iexec_secrets", {}), dict).items()},
            bulk_cid=_optional(given.get("bulk_cid")),
        )
    except ParamsError:
        return DealParams(args=text, understood=False)


def normalise(
    params: str | Mapping[str, Any],
    *,
    tag: Bytes32 = ZERO_BYTES32,
    callback: Address = ZERO_ADDRESS,
    strict: bool = False,
) -> str:
    """The params text of a new request order.

    Args:
        params: an object, its JSON text, or any other text, which is then the command line.
        tag: the order's tag; secrets and Dropbox need an enclave.
        callback: with a callback contract, no storage is added or checked.
        strict: the check of an order that exists: nothing is cast and an unknown key is an error.

    Raises:
        ParamsError: a value that does not fit; messages are those of the official client.
    """
    given = _given(params)
    if strict:
        for key in given:
            if key not in _KEYS:
                raise ParamsError(f'Unknown key "{key}" in params')
    checks = _checks(is_tee=tags.is_tee(tag), is_callback=callback != ZERO_ADDRESS, strict=strict)
    values = {key: checks[key](given[key]) for key in _KEYS if key in given}
    if callback == ZERO_ADDRESS:
        values.setdefault("iexec_result_storage_provider", PROVIDERS[0])
    keys = given if values == given and _same_types(values, given) else [key for key in _KEYS if key in values]
    text = json.dumps({key: values[key] for key in keys}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ParamsError("params: the text has a lone surrogate") from None
    return text


def _given(params: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(params, str):
        try:
            document = _load(params)
        except ParamsError:
            return {"iexec_args": params}
    else:
        document = dict(params)
    if document is None:
        raise ParamsError("this cannot be null")
    if not isinstance(document, dict):
        raise ParamsError(f"this must be a `object` type, but the final value was: `{json.dumps(document)}`.")
    return document


def _same_types(values: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    return all(type(values[key]) is type(given[key]) for key in values)  # True == 1 in Python, not on the wire


def _checks(*, is_tee: bool, is_callback: bool, strict: bool) -> dict[str, Callable[[Any], Any]]:
    def text(key: str) -> Callable[[Any], str]:
        def check(value: Any) -> str:  # noqa: ANN401
            if value is None:
                raise ParamsError(f"{key} cannot be null")
            if isinstance(value, list | dict) or (strict and not isinstance(value, str)):
                raise ParamsError(f"{key} must be a `string` type")
            return _scalar(value)

        return check

    def provider(value: Any) -> Any:  # noqa: ANN401
        return value if is_callback and value is None else _provider(value, is_tee=is_tee, is_callback=is_callback)

    return {
        "iexec_args": text("iexec_args"),
        "iexec_input_files": lambda value: _input_files(value, strict=strict),
        "iexec_result_encryption": lambda value: _encryption(value, strict=strict),
        "iexec_result_storage_provider": provider,
        "iexec_result_storage_proxy": lambda value: _url("iexec_result_storage_proxy", value),
        "iexec_secrets": lambda value: _secrets(value, is_tee=is_tee),
        "bulk_cid": _bulk_cid,
    }


def _input_files(value: Any, *, strict: bool) -> list[str]:  # noqa: ANN401
    if value is None:
        raise ParamsError("iexec_input_files cannot be null")
    if isinstance(value, str) and not strict:
        value = value.split(",")
    if not isinstance(value, list | tuple):
        raise ParamsError("iexec_input_files must be a `array` type")
    return [_url(f"iexec_input_files[{index}]", each) for index, each in enumerate(value)]


def _url(name: str, value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str) or not _URL.fullmatch(value):
        raise ParamsError(f'{name} "{value}" is not a valid URL')
    return value


def _encryption(value: Any, *, strict: bool) -> bool:  # noqa: ANN401
    if value is None:
        raise ParamsError("iexec_result_encryption cannot be null")
    if isinstance(value, bool):
        return value
    if not strict and isinstance(value, str | int) and str(value).lower() in _TRUE | _FALSE:
        return str(value).lower() in _TRUE
    raise ParamsError(
        f"iexec_result_encryption must be a `boolean` type, but the final value was: `{json.dumps(value)}`."
    )


def _provider(value: Any, *, is_tee: bool, is_callback: bool) -> str:  # noqa: ANN401
    name = "iexec_result_storage_provider"
    if value is None:
        raise ParamsError(f"{name} is a required field")
    if isinstance(value, list | dict):
        raise ParamsError(f"{name} must be a `string` type")
    text = _scalar(value)
    if is_callback or text == PROVIDERS[0] or (is_tee and text in PROVIDERS):
        return text
    if is_tee:
        raise ParamsError(
            f'{name} "{text}" is not a valid storage provider, use one of the supported providers '
            f"({', '.join(PROVIDERS)})"
        )
    raise ParamsError(
        f'{name} "{text}" is not supported for non TEE tasks use supported storage provider {PROVIDERS[0]}'
    )


def _secrets(value: Any, *, is_tee: bool) -> dict[str, str]:  # noqa: ANN401
    if value is None:
        raise ParamsError("iexec_secrets cannot be null")
    if not is_tee:
        raise ParamsError("iexec_secrets is not supported for non TEE tasks")
    if not isinstance(value, Mapping):
        raise ParamsError(f'iexec_secrets must be a `object` type, but the final value was: `"{value}"`.')
    keys = [str(key) for key in value]
    if not all(_INDEX.fullmatch(key) for key in keys):
        raise ParamsError("iexec_secrets mapping keys must be strictly positive integers")
    if not all(isinstance(name, str) for name in value.values()):
        raise ParamsError("iexec_secrets mapping names must be strings")
    named = {str(key): name for key, name in value.items()}
    return {key: named[key] for key in sorted(keys, key=int)}  # the order that JavaScript gives integer keys


def _bulk_cid(value: Any) -> str:  # noqa: ANN401
    try:
        cid_multihash(value)
    except MultiaddrError as error:
        raise ParamsError(f"{'null' if value is None else value} is not a valid CID") from error
    return str(value)


def _known(document: Any) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(document, dict) or not set(document) <= set(_KEYS):
        raise ParamsError("not an object of known keys")
    return {key: value for key, value in document.items() if value is not None}


def _load(text: str) -> Any:  # noqa: ANN401
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    depth = deepest = 0
    for character in _STRING.sub("", text):
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    if deepest > _MAX_DEPTH:
        raise ParamsError(f"JSON nested deeper than {_MAX_DEPTH}")
    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError as error:
        raise ParamsError("not JSON") from error


def _instance(value: Any, kind: type[Any]) -> Any:  # noqa: ANN401
    if not isinstance(value, kind):
        raise ParamsError(f"not a JSON {'object' if kind is dict else 'array'}")
    return value


def _scalar(value: Any) -> str:  # noqa: ANN401
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
        case _:
            raise ParamsError("not a text")


def _optional(value: Any) -> str | None:  # noqa: ANN401
    return None if value is None else _scalar(value)


def _truth(value: Any) -> bool:  # noqa: ANN401
    # As lenient as the services' reference: refusing here would turn a wish for encryption into a command line.
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if isinstance(value, int):
        return value != 0
    raise ParamsError("not a boolean")
