"""Every environment variable of protocol section 5.1 with its presence rule, one row each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import pytest
from tests.sms.opening.test_bulk import MIXED, bulk_task
from tests.sms.opening.test_session_maker import CALLBACK, STORED, TEE_KEY, description, maker, request
from tests.sms.support import APP, BENEFICIARY, DATASET, DEAL_ID, POOL_OWNER, REQUESTER, TASK_ID, WORKER

from adyton.base.types import ZERO_ADDRESS
from adyton.sms.opening.task import TaskDescription

ZERO, SET = ZERO_ADDRESS, DATASET.lower()
INPUTS = '"iexec_input_files":["http://host/file1","https://host/b.zip"]'
FILE_1 = "0xd4afc5e514196a391d04174cee09ff53688ba2aa987e208ec3936a0f4c4d9f4f"  # protocol, section 10.1

SITUATIONS: dict[str, TaskDescription] = {
    "plain": description("{}"),
    "dataset": description("{}", dataset=True),
    "inputs": description(f"{{{INPUTS}}}"),
    "both": description(f"{{{INPUTS}}}", dataset=True),
    "bulk": bulk_task(*MIXED),
    "secrets": description('{"iexec_secrets":{"1":"login","3":"absent"}}'),
    "encrypted": description('{"iexec_result_encryption":true,"iexec_result_storage_provider":"ipfs"}'),
    "dropbox": description('{"iexec_result_storage_provider":"dropbox"}'),
    "own proxy": description('{"iexec_result_storage_proxy":"http://mine"}'),
    "callback": description('{"iexec_result_storage_provider":"ipfs"}', callback=CALLBACK),
}
FETCHING = {"dataset", "inputs", "both", "bulk"}
WITH_DATASET, WITH_INPUTS = {"dataset", "both"}, {"inputs", "both"}
EVERYWHERE = set(SITUATIONS)
PRE, IN_APP, POST = "pre-compute", "app", "post-compute"
KEY_TEXT = "0x" + TEE_KEY.reveal().hex()


@dataclass(frozen=True)
class Row:
    """One variable of one enclave: the situations that have it, its value there, and where that differs."""

    service: str
    name: str
    present: set[str]
    value: str
    but: dict[str, str] | None = None

    def expected(self, situation: str) -> str | None:
        if situation not in self.present:
            return None
        return (self.but or {}).get(situation, self.value)


def both(value: str) -> dict[str, str]:
    return dict.fromkeys(WITH_DATASET, value)


ROWS = [
    Row(PRE, "IEXEC_PRE_COMPUTE_OUT", FETCHING, "/iexec_in"),
    Row(PRE, "IS_DATASET_REQUIRED", FETCHING, "false", both("true")),
    Row(PRE, "IEXEC_DEAL_ID", FETCHING, DEAL_ID),
    Row(PRE, "IEXEC_TASK_INDEX", FETCHING, "0"),
    Row(PRE, "IEXEC_TASK_ID", FETCHING, TASK_ID),
    Row(PRE, "IEXEC_INPUT_FILES_NUMBER", FETCHING, "0", {"inputs": "2", "both": "2"}),
    Row(PRE, "IEXEC_INPUT_FILES_FOLDER", WITH_INPUTS, "/iexec_in"),
    Row(PRE, "IEXEC_INPUT_FILE_URL_1", WITH_INPUTS, "http://host/file1"),
    Row(PRE, "IEXEC_INPUT_FILE_URL_2", WITH_INPUTS, "https://host/b.zip"),
    Row(PRE, "IEXEC_DATASET_KEY", WITH_DATASET, "dataset-key\n"),
    Row(PRE, "IEXEC_DATASET_URL", WITH_DATASET, "/ipfs/QmData"),
    Row(PRE, "IEXEC_DATASET_CHECKSUM", WITH_DATASET, "0x" + "da" * 32),
    Row(PRE, "IEXEC_DATASET_FILENAME", WITH_DATASET, SET),
    Row(PRE, "IEXEC_BULK_SLICE_SIZE", {"bulk"}, "3"),
    *[
        Row(PRE, f"IEXEC_DATASET_{number}_{name}", {"bulk"}, value)
        for number, values in {
            1: ("/ipfs/QmData", "0x" + "da" * 32, "dataset-key\n", SET),
            2: ("/ipfs/Qm0", f"0x{1:064x}", "", "0x" + "77" * 20),
            3: ("", "", "", "0x" + "88" * 20),
        }.items()
        for name, value in zip(("URL", "CHECKSUM", "KEY", "FILENAME"), values, strict=True)
    ],
    Row(PRE, "SIGN_WORKER_ADDRESS", FETCHING, WORKER.address),
    Row(PRE, "SIGN_TEE_CHALLENGE_PRIVATE_KEY", FETCHING, KEY_TEXT),
    Row(IN_APP, "IEXEC_DEAL_ID", EVERYWHERE, DEAL_ID),
    Row(IN_APP, "IEXEC_TASK_INDEX", EVERYWHERE, "0"),
    Row(IN_APP, "IEXEC_TASK_ID", EVERYWHERE, TASK_ID),
    Row(IN_APP, "IEXEC_IN", EVERYWHERE, "/iexec_in"),
    Row(IN_APP, "IEXEC_OUT", EVERYWHERE, "/iexec_out"),
    Row(IN_APP, "IEXEC_BOT_SIZE", EVERYWHERE, "1"),
    Row(IN_APP, "IEXEC_BOT_FIRST_INDEX", EVERYWHERE, "0"),
    Row(IN_APP, "IEXEC_BOT_TASK_INDEX", EVERYWHERE, "0"),
    Row(IN_APP, "IEXEC_DATASET_ADDRESS", EVERYWHERE, ZERO, both(SET)),
    Row(IN_APP, "IEXEC_DATASET_FILENAME", EVERYWHERE, ZERO, both(SET)),
    Row(IN_APP, "IEXEC_INPUT_FILES_NUMBER", EVERYWHERE, "0", {"inputs": "2", "both": "2"}),
    Row(IN_APP, "IEXEC_INPUT_FILES_FOLDER", WITH_INPUTS, "/iexec_in"),
    Row(IN_APP, "IEXEC_INPUT_FILE_NAME_1", WITH_INPUTS, FILE_1),
    Row(
        IN_APP,
        "IEXEC_INPUT_FILE_NAME_2",
        WITH_INPUTS,
        "0x00086453d6790a6738807d8ceca80121b5af845f51bd3c4c443880d2ea977aff",
    ),
    Row(IN_APP, "IEXEC_APP_DEVELOPER_SECRET", EVERYWHERE, " app secret "),
    Row(IN_APP, "IEXEC_APP_DEVELOPER_SECRET_1", EVERYWHERE, " app secret "),
    Row(IN_APP, "IEXEC_REQUESTER_SECRET_1", {"secrets"}, "me:secret"),
    Row(IN_APP, "IEXEC_BULK_SLICE_SIZE", {"bulk"}, "3"),
    Row(IN_APP, "IEXEC_DATASET_1_FILENAME", {"bulk"}, SET),
    Row(IN_APP, "IEXEC_DATASET_2_FILENAME", {"bulk"}, "0x" + "77" * 20),
    Row(IN_APP, "IEXEC_DATASET_3_FILENAME", {"bulk"}, "0x" + "88" * 20),
    Row(POST, "RESULT_ENCRYPTION", EVERYWHERE, "false", {"encrypted": "true"}),
    Row(POST, "RESULT_ENCRYPTION_PUBLIC_KEY", EVERYWHERE, "", {"encrypted": "LS0tLS1CRUdJTg=="}),
    Row(POST, "RESULT_STORAGE_CALLBACK", EVERYWHERE, "false", {"callback": "true"}),
    Row(POST, "RESULT_STORAGE_PROVIDER", EVERYWHERE, "", {"encrypted": "ipfs", "dropbox": "dropbox"}),
    Row(
        POST,
        "RESULT_STORAGE_PROXY",
        EVERYWHERE,
        "http://default-proxy:13200",
        {"dropbox": "", "own proxy": "http://mine", "callback": ""},
    ),
    Row(POST, "RESULT_STORAGE_TOKEN", EVERYWHERE, "worker.jwt.token", {"dropbox": "dropbox-token", "callback": ""}),
    Row(POST, "IEXEC_TASK_ID", EVERYWHERE, TASK_ID),
    Row(POST, "SIGN_WORKER_ADDRESS", EVERYWHERE, WORKER.address),
    Row(POST, "SIGN_TEE_CHALLENGE_PRIVATE_KEY", EVERYWHERE, KEY_TEXT),
]


@cache
def environments(situation: str) -> dict[str, dict[str, str]]:
    made, task = maker(), SITUATIONS[situation]
    document = made.document(made.plan(task), request(task, STORED))
    return {service["name"]: service["environment"] for service in document["services"]}


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.service}-{row.name}")
def test_presence_and_value(row: Row, situation: str) -> None:
    assert environments(situation).get(row.service, {}).get(row.name) == row.expected(situation)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_nothing_else_is_there(situation: str) -> None:
    known = {(row.service, row.name) for row in ROWS}
    found = {(service, name) for service, values in environments(situation).items() for name in values}
    assert found <= known
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", name) for _, name in found)


def test_the_secrets_are_those_of_the_right_owners() -> None:
    """The table's values are told apart by owner: swapping two of them would show."""
    owners = {BENEFICIARY.address, WORKER.address, REQUESTER.address, POOL_OWNER.address, DATASET, APP}
    assert {key.owner for key in STORED} == {owner.lower() for owner in owners}
    assert len(set(STORED.values())) == len(STORED)
