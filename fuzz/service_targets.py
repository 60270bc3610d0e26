"""Targets for what strangers and operators hand to SMS and CAS: signatures, requests, settings, backups, params."""

from __future__ import annotations

import io
import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from tests.sms.support import WORKER, authorization

from adyton.base.errors import InputError
from adyton.base.secret import Secret
from adyton.cas.wire import ConfigRequest, KeyRequest, UpgradeRequest
from adyton.chain import params
from adyton.sms.access import recipes
from adyton.sms.access.authorize import check_worker
from adyton.sms.access.signatures import well_formed
from adyton.sms.backup.sealedfile import SealingWriter, open_sealed
from adyton.sms.settings import SmsSettings
from adyton.sms.wire import WorkerpoolAuthorization

T = TypeVar("T", bound=BaseModel)

_KEY: Final = Secret(bytes(range(32)))
_PLAIN: Final = b"a row of a backup" * 5000  # more than one chunk
_ASKED: Final = authorization("0x" + "ee" * 20)
_CHALLENGE: Final = recipes.authorization_challenge(
    _ASKED.worker_wallet, _ASKED.chain_task_id, _ASKED.enclave_challenge
)
_SIGNED: Final = recipes.sign(_CHALLENGE, WORKER)
_REQUESTS: Final = (ConfigRequest, KeyRequest, UpgradeRequest)
_STAGE: Final = {
    "PRECOMPUTE_IMAGE": "i",
    "PRECOMPUTE_FINGERPRINT": "f",
    "PRECOMPUTE_HEAPSIZE": "1GB",
    "PRECOMPUTE_ENTRYPOINT": "e",
    "POSTCOMPUTE_IMAGE": "i",
    "POSTCOMPUTE_FINGERPRINT": "f",
    "POSTCOMPUTE_HEAPSIZE": "512MB",
    "POSTCOMPUTE_ENTRYPOINT": "e",
}


class ForgedError(Exception):
    """Something opened or was believed that nobody made."""


def _model(kind: type[T], data: bytes) -> T:
    """As the edges read: a refusal of the model is the caller's mistake."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise InputError("no such request") from error


def signature(data: bytes) -> None:
    """A header of any bytes: refused, or the bytes of what it says in hex; and its signer, if it is 65 bytes."""
    text = data.decode("latin-1")
    raw = well_formed(_CHALLENGE, text)
    if raw is None:
        raise InputError("no signature")
    if raw != bytes.fromhex(text.strip().lower().removeprefix("0x")):
        raise ForgedError
    if len(raw) == 65 and recipes.signer_of(_CHALLENGE, text) == WORKER.address and text.lower() != _SIGNED:
        raise ForgedError  # one signature, one form: no high s, no other v


def signatures() -> list[bytes]:
    """A good one, one with an s above half of the order, and a contract account's."""
    high = f"{0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 - int(_SIGNED[66:130], 16):064x}"
    return [
        _SIGNED.encode(),
        (_SIGNED[:66] + high + ("1c" if _SIGNED.endswith("1b") else "1b")).encode(),
        b"0x" + b"ab" * 700,
    ]


def authorized(data: bytes) -> None:
    """A body of ``/tee/sessions`` of any bytes, with the worker's good signature: it holds for what was signed only."""
    asked = _model(WorkerpoolAuthorization, data)
    check_worker(asked, _SIGNED)
    signed = (_ASKED.worker_wallet, _ASKED.chain_task_id, _ASKED.enclave_challenge)
    found = (asked.worker_wallet, asked.chain_task_id, asked.enclave_challenge)
    if [text.lower() for text in found] != [text.lower() for text in signed]:
        joined = ["".join(text.lower().removeprefix("0x") for text in each) for each in (found, signed)]
        if joined[0] != joined[1]:  # what is hashed is the parts joined, as officially
            raise ForgedError


def authorizations() -> list[bytes]:
    """As a worker sends it."""
    return [_ASKED.model_dump_json(by_alias=True).encode()]


def request(data: bytes) -> None:
    """A body of the attested port or of an approval."""
    refused = None
    for kind in _REQUESTS:
        try:
            _model(kind, data)
        except InputError as error:
            refused = error
        else:
            return
    if refused is not None:
        raise refused


def requests() -> list[bytes]:
    """One of each kind."""
    part: dict[str, Any] = {"session": "s", "service": "app"}
    return [
        json.dumps(each).encode()
        for each in (
            part,
            part | {"activation": "5a" * 32},
            part | {"secret": "k", "step": "commit", "generation": 2},
            {"predecessor": "11" * 32, "successor": "22" * 32, "choice": "carry"},
        )
    ]


def environment(data: bytes) -> None:
    """Lines ``NAME=VALUE`` as the environment of an SMS, in official names and ours."""
    pairs = (line.split("=", 1) for line in data.decode("utf-8", errors="replace").splitlines() if "=" in line)
    SmsSettings.load(env=dict(pairs))  # type: ignore[arg-type]  # each was split in two


def environments() -> list[bytes]:
    """One pipeline in official names; and more, some of it contradictory."""
    stage = [f"TEE_WORKER_PIPELINES_0_{name}={value}" for name, value in {"VERSION": "v5", **_STAGE}.items()]
    more = ["IEXEC_SMS_PORT=13300", "IEXEC_CHAIN_ID=134", "IEXEC_BLOCK_TIME=PT5S", "ADYTON_SMS_MAX_ACTIVATIONS=4"]
    wrong = ["IEXEC_SMS_PORT=0", "ADYTON_SMS_PORT=1", "IEXEC_HUB_ADDRESS=0x0", "ADYTON_SMS_TRUSTED_PROXIES=::/0,x"]
    return ["\n".join(lines).encode() for lines in (stage, stage + more, stage + wrong)]


def settings_file(data: bytes) -> None:
    """A settings file; YAML where the first byte is even, TOML where it is odd."""
    name = "settings.toml" if data[:1] and data[0] % 2 else "settings.yml"
    file = _folder() / name
    file.write_bytes(data[1:])
    SmsSettings.load(file, env={})


def settings_files() -> list[bytes]:
    """In official names and in ours."""
    ours = '[[pipelines]]\nversion = "v5"\n' + "".join(
        f'{stage} = {{image = "i", fingerprint = "f", entrypoint = "e", heap_size = "1GB"}}\n'
        for stage in ("pre_compute", "post_compute")
    )
    stage = "{image: i, fingerprint: f, entrypoint: e, heap-size: 1GB}"
    theirs = (
        "chain: {id: 134}\nserver.port: 13300\n"
        f"tee:\n  worker:\n    pipelines:\n    - version: v5\n      pre-compute: {stage}\n      post-compute: {stage}\n"
    )
    return [b"\x01" + ours.encode(), b"\x00" + theirs.encode()]


@lru_cache(maxsize=1)
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="adyton-fuzz-"))


def backup(data: bytes) -> None:
    """An encrypted backup: it opens to what was sealed, or to nothing."""
    if b"".join(open_sealed(io.BytesIO(data), _KEY)) not in {_PLAIN, b""}:
        raise ForgedError


def backups() -> list[bytes]:
    """One of two chunks, and an empty one."""
    made = []
    for plain in (_PLAIN, b""):
        stream = io.BytesIO()
        writer = SealingWriter(stream, _KEY)
        writer.write(plain)
        writer.finish()
        made.append(stream.getvalue())
    return made


def deal_params(data: bytes) -> None:
    """The params of a deal as a session is made of them: never refused, what is not understood is a command line."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InputError("no text") from error
    params.parse(text)


def deals() -> list[bytes]:
    """With every member, and none."""
    whole = {
        "iexec_args": "--x", "iexec_input_files": ["https://h/f"], "iexec_secrets": {"1": "s"}, "bulk_cid": "Qm",
        "iexec_result_encryption": True, "iexec_result_storage_provider": "ipfs", "iexec_result_storage_proxy": "p",
    }  # fmt: skip
    return [json.dumps(whole).encode(), b"--plain arguments", b"{}"]
