"""What each enclave of a task finds in its environment (protocol, section 5.1).

Pure. Names and presence rules are the official ones; all values are text, and an absent storage provider is an empty
text rather than YAML's null.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from adyton.base.types import to_hex
from adyton.sms.errors import SessionRefusedError
from adyton.sms.opening.session_maker import SessionRequest
from adyton.sms.opening.task import DROPBOX, TaskDescription
from adyton.sms.wire import SessionFailure

IN_FOLDER: Final = "/iexec_in"
OUT_FOLDER: Final = "/iexec_out"


def pre_compute_environment(request: SessionRequest) -> dict[str, str]:
    """What the pre-compute enclave gets.

    Raises:
        SessionRefusedError: ``PRE_COMPUTE_GET_DATASET_SECRET_FAILED``.
    """
    task = request.task
    environment = {
        "IEXEC_PRE_COMPUTE_OUT": IN_FOLDER,
        "IS_DATASET_REQUIRED": _flag(task.needs_dataset),
        **_task_variables(task),
        **_input_file_variables(task, "IEXEC_INPUT_FILE_URL_", lambda url: url),
    }
    if task.needs_dataset and task.dataset is not None:
        key = request.secrets.dataset_key
        if key is None:
            raise SessionRefusedError(
                SessionFailure.PRE_COMPUTE_GET_DATASET_SECRET_FAILED, f"dataset {task.deal.dataset} has no key here"
            )
        environment |= {
            "IEXEC_DATASET_KEY": key.reveal(),
            "IEXEC_DATASET_URL": task.dataset.uri,
            "IEXEC_DATASET_CHECKSUM": task.dataset.checksum,
            "IEXEC_DATASET_FILENAME": task.deal.dataset.lower(),
        }
    return environment | _bulk_variables(request, for_app=False) | _signing_variables(request)


def app_environment(request: SessionRequest) -> dict[str, str]:
    """What the app's enclave gets; the secrets of others only in so far as they exist."""
    task, deal = request.task, request.task.deal
    environment = {
        **_task_variables(task),
        "IEXEC_IN": IN_FOLDER,
        "IEXEC_OUT": OUT_FOLDER,
        "IEXEC_BOT_SIZE": str(deal.bot_size),
        "IEXEC_BOT_FIRST_INDEX": str(deal.bot_first),
        "IEXEC_BOT_TASK_INDEX": str(task.task.index),
        "IEXEC_DATASET_ADDRESS": deal.dataset.lower(),
        "IEXEC_DATASET_FILENAME": deal.dataset.lower(),
        **_input_file_variables(task, "IEXEC_INPUT_FILE_NAME_", input_file_name),
        **_bulk_variables(request, for_app=True),
    }
    if request.secrets.app is not None:
        environment["IEXEC_APP_DEVELOPER_SECRET"] = request.secrets.app.reveal()
        environment["IEXEC_APP_DEVELOPER_SECRET_1"] = request.secrets.app.reveal()
    for index, value in sorted(request.secrets.requester.items()):
        environment[f"IEXEC_REQUESTER_SECRET_{index}"] = value.reveal()
    return environment


def post_compute_environment(request: SessionRequest) -> dict[str, str]:
    """What the post-compute enclave gets: exactly nine variables.

    Raises:
        SessionRefusedError: ``POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY`` or
            ``POST_COMPUTE_GET_STORAGE_TOKENS_FAILED``.
    """
    return {
        **_encryption_variables(request),
        **_storage_variables(request),
        "IEXEC_TASK_ID": request.task.task.task_id,
        **_signing_variables(request),
    }


def input_file_name(url: str) -> str:
    """The name under which an input file lies in ``/iexec_in``: ``0x`` and the SHA-256 of its URL."""
    return to_hex(hashlib.sha256(url.encode()).digest())


def _task_variables(task: TaskDescription) -> dict[str, str]:
    return {
        "IEXEC_DEAL_ID": task.deal.deal_id,
        "IEXEC_TASK_INDEX": str(task.task.index),
        "IEXEC_TASK_ID": task.task.task_id,
    }


def _input_file_variables(task: TaskDescription, prefix: str, value: Callable[[str], str]) -> dict[str, str]:
    urls = task.params.input_files
    variables = {"IEXEC_INPUT_FILES_NUMBER": str(len(urls))}
    if urls:
        variables["IEXEC_INPUT_FILES_FOLDER"] = IN_FOLDER
    return variables | {f"{prefix}{number}": value(url) for number, url in enumerate(urls, start=1)}


def _bulk_variables(request: SessionRequest, *, for_app: bool) -> dict[str, str]:
    """Size of the slice and its datasets by number. A refused one keeps its name, so that numbers stay the deal's."""
    datasets = request.task.bulk
    if not datasets:
        return {}
    variables = {"IEXEC_BULK_SLICE_SIZE": str(len(datasets))}
    for number, dataset in enumerate(datasets, start=1):
        prefix = f"IEXEC_DATASET_{number}_"
        if not for_app:
            key = request.secrets.bulk_keys.get(dataset.address) if dataset.facts else None
            variables |= {
                f"{prefix}URL": dataset.facts.uri if dataset.facts else "",
                f"{prefix}CHECKSUM": dataset.facts.checksum if dataset.facts else "",
                f"{prefix}KEY": "" if key is None else key.reveal(),
            }
        variables[f"{prefix}FILENAME"] = dataset.address.lower()
    return variables


def _signing_variables(request: SessionRequest) -> dict[str, str]:
    return {
        "SIGN_WORKER_ADDRESS": request.worker,
        "SIGN_TEE_CHALLENGE_PRIVATE_KEY": to_hex(request.secrets.tee_key.reveal()),
    }


def _encryption_variables(request: SessionRequest) -> dict[str, str]:
    wanted = request.task.params.result_encryption
    key = request.secrets.beneficiary_key if wanted else None
    if wanted and key is None:
        raise SessionRefusedError(
            SessionFailure.POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY,
            f"beneficiary {request.task.deal.beneficiary} has no result encryption key here",
        )
    return {
        "RESULT_ENCRYPTION": _flag(wanted),
        "RESULT_ENCRYPTION_PUBLIC_KEY": "" if key is None else key.reveal(),
    }


def _storage_variables(request: SessionRequest) -> dict[str, str]:
    task, params = request.task, request.task.params
    if task.has_callback:
        provider = proxy = token = ""
    else:
        stored = request.secrets.storage_token
        if stored is None:
            raise SessionRefusedError(
                SessionFailure.POST_COMPUTE_GET_STORAGE_TOKENS_FAILED,
                f"neither worker {request.worker} nor requester {task.deal.requester} has a storage token here",
            )
        provider, token = params.result_storage_provider or "", stored.reveal()
        proxy = (params.result_storage_proxy or "").strip()
        if not proxy and provider != DROPBOX and request.secrets.default_proxy is not None:
            proxy = request.secrets.default_proxy.reveal()
    return {
        "RESULT_STORAGE_CALLBACK": _flag(task.has_callback),
        "RESULT_STORAGE_PROVIDER": provider,
        "RESULT_STORAGE_PROXY": proxy,
        "RESULT_STORAGE_TOKEN": token,
    }


def _flag(value: bool) -> str:
    return "true" if value else "false"
