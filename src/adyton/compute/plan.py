"""Reading the pre-compute stage's environment: which files to fetch, and every reason why one cannot be (pure).

Causes accumulate in the official order (SMS reference 6.1): dataset slots first, each slot's first missing variable
skips that slot, then the input files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from adyton.base.secret import Secret
from adyton.compute.wire import ExitCause, PreCause

MAX_SLICE_DATASETS: Final = 100  # what the official client puts in one bulk slice at most
MAX_INPUT_FILES: Final = 100


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """One dataset to fetch, check, decrypt and store under ``filename``."""

    filename: str
    url: str
    checksum: str
    key: Secret[str]


@dataclass(frozen=True, slots=True)
class InputPlan:
    """Everything that the stage can fetch."""

    datasets: tuple[DatasetInput, ...]
    input_urls: tuple[str, ...]


_SLOT_VARIABLES: Final = (
    ("FILENAME", PreCause.DATASET_FILENAME_MISSING),
    ("URL", PreCause.DATASET_URL_MISSING),
    ("CHECKSUM", PreCause.DATASET_CHECKSUM_MISSING),
    ("KEY", PreCause.DATASET_KEY_MISSING),
)


def cause(name: PreCause, message: str) -> ExitCause:
    """One entry of the list that is reported."""
    return ExitCause(cause=name.value, message=message)


def read_plan(environment: Mapping[str, str]) -> tuple[InputPlan, list[ExitCause]]:
    """Parse the stage's variables (SMS reference 5.1); what is missing becomes a cause, the rest is planned."""
    causes: list[ExitCause] = []
    slots = _slots(environment, causes)
    datasets = [found for index in slots if (found := _dataset(environment, index, causes)) is not None]
    return InputPlan(tuple(datasets), tuple(_input_urls(environment, causes))), causes


def _slots(environment: Mapping[str, str], causes: list[ExitCause]) -> list[int]:
    slots: list[int] = []
    match environment.get("IS_DATASET_REQUIRED", "").lower():
        case "true":
            slots.append(0)
        case "false":
            pass
        case _:
            text = "IS_DATASET_REQUIRED related environment variable is missing"
            causes.append(cause(PreCause.IS_DATASET_REQUIRED_MISSING, text))
    size = _count(environment.get("IEXEC_BULK_SLICE_SIZE") or "0", MAX_SLICE_DATASETS)
    if size is None:
        causes.append(cause(PreCause.FAILED_UNKNOWN_ISSUE, "IEXEC_BULK_SLICE_SIZE is not a usable number"))
        return slots
    return slots + list(range(1, size + 1))


def _dataset(environment: Mapping[str, str], index: int, causes: list[ExitCause]) -> DatasetInput | None:
    prefix = f"IEXEC_DATASET_{index}_" if index else "IEXEC_DATASET_"
    values: dict[str, str] = {}
    for name, missing in _SLOT_VARIABLES:
        value = environment.get(prefix + name, "")
        if not value:
            label = values.get("FILENAME", f"dataset_{index}")
            text = f"Dataset {name.lower()} related environment variable is missing for dataset {label}"
            causes.append(cause(missing, text))
            return None
        values[name] = value
    return DatasetInput(values["FILENAME"], values["URL"], values["CHECKSUM"], Secret(values["KEY"]))


def _input_urls(environment: Mapping[str, str], causes: list[ExitCause]) -> list[str]:
    number = _count(environment.get("IEXEC_INPUT_FILES_NUMBER", ""), MAX_INPUT_FILES)
    if number is None:
        text = "IEXEC_INPUT_FILES_NUMBER related environment variable is missing"
        causes.append(cause(PreCause.INPUT_FILES_NUMBER_MISSING, text))
        return []
    urls = []
    for index in range(1, number + 1):
        url = environment.get(f"IEXEC_INPUT_FILE_URL_{index}", "")
        if url:
            urls.append(url)
        else:
            causes.append(cause(PreCause.AT_LEAST_ONE_INPUT_FILE_URL_MISSING, f"input file URL {index} is missing"))
    return urls


def _count(text: str, limit: int) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= limit else None
