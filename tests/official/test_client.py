"""The official npm client, unchanged, against a whole network of ours: what others wrote must be satisfied by it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.network.support import running_network
from tests.official import story
from tests.official.story import APP_PRICE, DATASET_PRICE, EXPECTED, TAG, Stage
from tests.official.support import need_official_client, together

from adyton.base.secret import Secret
from adyton.chain import keystore
from adyton.devnet.network import PRODUCTION_POOL

TEE_TAG = "0x" + "03".zfill(64)
NOBODY = "0x" + "00" * 20

pytestmark = [pytest.mark.official, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One network for this module, and everything in it that must be there before anybody buys."""
    need_official_client()
    with running_network() as running:
        stage = Stage.enter(running, tmp_path_factory.mktemp("official"))
        together(
            lambda: story.offer_confidential_app(stage),
            lambda: story.encrypt_dataset(stage),
            lambda: story.prepare_requester(stage),
        )
        together(lambda: story.offer_dataset(stage), lambda: story.offer_standard_app(stage))
        yield stage


@pytest.fixture(scope="module")
def bought(offered: Stage) -> Stage:
    """A confidential and a standard task, run to their ends."""
    together(lambda: story.run_confidential_app(offered), lambda: story.run_standard_app(offered))
    return offered


def test_wallets_and_accounts(offered: Stage) -> None:
    address = offered.addresses["requester"]
    assert offered.answers["deposit"]["amount"] == "1000000000"
    wallet, account = offered.requester.each("wallet show", "account show")
    assert wallet["wallet"]["address"] == address
    assert wallet["balance"] == {"RLC": "9.0", "nRLC": "9000000000"}
    assert sum(map(int, account["balance"].values())) <= 1_000_000_000


def test_our_client_opens_a_keystore_of_the_official_one(offered: Stage) -> None:
    made = offered.owner.iexec("wallet", "create", "--password", "correct horse")
    file = Path(made["fileName"])
    assert file.is_relative_to(offered.owner.environment["HOME"])
    assert keystore.decrypt(json.loads(file.read_text()), Secret("correct horse")).address == made["address"]


def test_the_app_on_chain_is_the_measured_one(offered: Stage) -> None:
    shown = offered.requester.iexec("app", "show", offered.answers["app"])["app"]
    assert shown["owner"] == offered.addresses["developer"]
    assert json.loads(shown["appMREnclave"]) == offered.answers["mrenclave"]


def test_secrets_are_kept_once(offered: Stage) -> None:
    answers = offered.answers
    assert answers["app secret"]["isSecretSet"] is True
    assert answers["dataset secret again"] == f"Secret already exists for {answers['dataset']} and can't be updated"
    assert answers["requester secret"] == {"ok": True, "isPushed": True, "name": "point"}
    assert answers["result key"] == {"ok": True, "isPushed": True, "isUpdated": False}


def test_a_stranger_sets_no_secret(offered: Stage) -> None:
    app, stranger = offered.answers["app"], offered.addresses["requester"]
    told = offered.requester.refused("app", "push-secret", app, "--secret-value", "x")
    assert told == f"Wallet {stranger} is not allowed to set secret for {app}"


def test_offers_are_checked_before_they_are_published(offered: Stage) -> None:
    assert "Tag mismatch the TEE framework specified by app" in offered.answers["apporder without a tag"]
    assert "Dataset encryption key is not set for dataset" in offered.answers["datasetorder without a key"]


def test_storage_takes_a_token_of_the_result_proxy(offered: Stage) -> None:
    answers = offered.answers
    assert answers["storage"] == {"ok": True, "isInitialized": True, "isUpdated": False}
    assert answers["storage update"] == {"ok": True, "isInitialized": True, "isUpdated": True}
    assert offered.requester.iexec("storage", "check")["isInitialized"] is True


def test_the_order_books_have_the_offers(offered: Stage) -> None:
    answers, app, dataset = offered.answers, offered.answers["app"], offered.answers["dataset"]
    apps, datasets, pools, requests = offered.requester.each(
        f"orderbook app {app} --tag {TAG}",
        f"orderbook dataset {dataset} --app {app}",
        f"orderbook workerpool {PRODUCTION_POOL} --category 0 --require-tag {TAG}",
        f"orderbook requester {offered.addresses['owner']}",
    )
    nobody = {"datasetrestrict": NOBODY, "workerpoolrestrict": NOBODY, "requesterrestrict": NOBODY}
    assert apps["count"] == 1
    assert apps["appOrders"][0]["remaining"] in range(90, 101)
    assert apps["appOrders"][0] == nobody | {
        "orderHash": answers["apporder"],
        "price": APP_PRICE,
        "remaining": apps["appOrders"][0]["remaining"],
        "app": app,
        "tag": TEE_TAG,
    }
    assert [order["orderHash"] for order in datasets["datasetOrders"]] == [answers["datasetorder"]]
    pool = offered.network.pools[PRODUCTION_POOL].address
    assert [order["workerpool"] for order in pools["workerpoolOrders"]] == [pool]
    assert requests["count"] == 0


def test_a_request_waits_in_the_order_book(offered: Stage) -> None:
    requester, app = offered.requester, offered.answers["app"]
    words = ("app", "request-execution", app, "--app-price", str(APP_PRICE), "--tag", TAG, "--category", "4")
    made = requester.iexec(*words, "--force")["orderHash"]
    book, shown = requester.each(
        f"orderbook requester {offered.addresses['requester']}", f"order show --request {made}"
    )
    assert [order["orderHash"] for order in book["requestOrders"]] == [made]
    assert (shown["requestorder"]["status"], shown["requestorder"]["remaining"]) == ("open", 1)


def test_the_confidential_task_completes(bought: Stage) -> None:
    run = bought.answers["confidential run"]
    assert [task["statusName"] for task in run["tasks"]] == ["COMPLETED"]
    assert "failedTasks" not in run
    deal = bought.requester.iexec("deal", "show", run["deals"][0]["dealid"])["deal"]
    assert deal["app"] == {
        "pointer": bought.answers["app"],
        "owner": bought.addresses["developer"],
        "price": str(APP_PRICE),
    }
    assert deal["dataset"]["pointer"] == bought.answers["dataset"]
    assert deal["tag"] == TEE_TAG
    assert deal["tasks"] == [run["tasks"][0]["taskid"]]
    assert json.loads(deal["params"])["iexec_secrets"] == {"1": "point"}


def test_the_decrypted_result_is_what_the_secrets_make(bought: Stage) -> None:
    task = bought.answers["confidential run"]["tasks"][0]["taskid"]
    plain, encrypted = bought.requester.each(
        f"task show {task} --download result --decrypt", f"task show {task} --download encryptedResults"
    )
    assert plain["task"]["results"]["storage"] == "ipfs"
    with zipfile.ZipFile(plain["resultPath"]) as archive:
        assert json.loads(archive.read("result.json")) == {"value": EXPECTED}
    with zipfile.ZipFile(encrypted["resultPath"]) as archive:
        assert sorted(archive.namelist()) == ["aes-key.rsa", "iexec_out.zip.aes"]
    again = bought.requester.iexec("result", "decrypt", "--force")
    assert Path(again["resultsPath"]).read_bytes() == Path(plain["resultPath"]).read_bytes()


def test_the_owners_are_paid(bought: Stage) -> None:
    names = ("developer", "owner")
    accounts = bought.requester.each(*[f"account show {bought.addresses[name]}" for name in names])
    assert [account["balance"]["stake"] for account in accounts] == [str(APP_PRICE), str(DATASET_PRICE)]


def test_only_the_requester_sees_the_logs(bought: Stage) -> None:
    words = ("task", "debug", bought.answers["confidential run"]["tasks"][0]["taskid"], "--logs")
    told, less = together(lambda: bought.requester.iexec(*words), lambda: bought.developer.iexec(*words))
    assert told["onchainData"]["statusName"] == "COMPLETED"
    assert told["offchainData"]["task"]["status"] == "COMPLETED"
    replicate = told["offchainData"]["replicates"][0]
    assert (replicate["status"], replicate["exitCode"]) == ("COMPLETED", 0)
    assert "polynomial evaluated, dataset figure added" in told["appLogs"][0]["stdout"]
    assert less["offchainData"] == told["offchainData"]
    assert "appLogs" not in less


def test_a_standard_task(bought: Stage) -> None:
    (task,) = bought.answers["standard run"]["tasks"]
    assert task["statusName"] == "COMPLETED"
    shown = bought.owner.iexec("task", "show", task["taskid"], "--download", "hello")
    with zipfile.ZipFile(shown["resultPath"]) as archive:
        assert archive.read("greeting.txt").decode() == "Hello, official client\n"


def test_an_offer_can_be_withdrawn(bought: Stage) -> None:
    app = bought.answers["app"]
    assert bought.developer.iexec("app", "unpublish", app, "--force")["unpublished"] == bought.answers["apporder"]
    assert bought.requester.refused("app", "run", app, "--tag", TAG, "--force") == f"No order available for app {app}"


def test_the_client_talked_to_this_network_only(bought: Stage) -> None:
    network = bought.network
    urls = (network.rpc, network.market, network.results, network.sms, network.pools[PRODUCTION_POOL].scheduler)
    reached = set(bought.destinations.read_text(encoding="utf-8").split())
    assert reached == {urlsplit(url).netloc for url in urls}
