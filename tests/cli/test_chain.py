"""Commands against the real contracts, market, SMS and result store of the shared chain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adyton.chain.hashing import result_hash, result_seal
from adyton.chain.hashing import task_id as make_task_id
from adyton.chain.tx import TxSender
from adyton.chain.wallet import Wallet
from adyton.results.client import IpfsClient

from .conftest import Chain, Iexec, Services, User, write_wallet

NOBODY = "0x0000000000000000000000000000000000000002"
HINT = "(If you consider this is not an issue, use --skip-preflight-check to skip preflight requirement check)"


def deploy_all(iexec: Iexec, *kinds: str, app_options: str = "") -> dict[str, str]:
    """Deploy the templates, under names of their own: an address follows from owner and description."""
    found = {}
    for kind in kinds:
        assert iexec(f"{kind} init {app_options if kind == 'app' else ''} --raw").status == 0
        ran = iexec(f"{kind} deploy --raw")
        assert ran.status == 0, ran
        found[kind] = ran.raw["address"]
    return found


@pytest.mark.usefixtures("user")
def test_info_and_categories(iexec: Iexec, chain: Chain) -> None:
    raw = iexec("info --raw").raw
    assert list(raw) == [
        *("ok", "pocoVersion", "host", "hubAddress"),
        *("appRegistryAddress", "datasetRegistryAddress", "workerpoolRegistryAddress", "useNative"),
    ]
    assert (raw["pocoVersion"], raw["host"], raw["useNative"]) == ("6.1.0", chain.url, True)
    assert iexec("category show 0 --raw").raw == {
        "ok": True,
        "index": "0",
        "category": {"name": "XS", "description": "{}", "workClockTimeRef": "300"},
    }
    assert int(iexec("category count --raw").raw["count"]) >= 5
    assert iexec("category show abc --raw").error == ("ValidationError", "abc is not a valid uint256")
    assert iexec("category show 99 --raw").error[0] == "ObjectNotFoundError"


def test_money(iexec: Iexec, user: User) -> None:
    assert iexec("wallet show --raw").raw == {
        "ok": True,
        "balance": {"RLC": "1000.0", "nRLC": "1000000000000"},
        "wallet": {"address": user.wallet.address},
        "ens": None,
    }
    shown = iexec("wallet show --show-private-key --raw").raw["wallet"]
    assert shown["privateKey"] == "0x" + user.wallet.private_key().reveal().hex()
    raw = iexec("account deposit 5 RLC --raw").raw
    assert (list(raw), raw["amount"]) == (["ok", "amount", "txHash"], "5000000000")
    assert iexec("account withdraw 1000 --raw").raw["amount"] == "1000"
    assert iexec("account show --raw").raw["balance"] == {"stake": "4999999000", "locked": "0"}
    assert iexec(f"account show {NOBODY} --raw").raw["balance"] == {"stake": "0", "locked": "0"}
    sent = iexec(f"wallet send-RLC 2 --to {Wallet.create().address} --force --raw").raw
    assert (list(sent), sent["amount"]) == (["ok", "amount", "from", "to", "txHash"], "2000000000")
    assert iexec("wallet send-RLC 2 --force --raw").error == ("Error", "Missing --to option")
    assert iexec(f"wallet send-RLC 9999999 --to {NOBODY} --force --raw").status == 1
    assert iexec("account deposit 0 --raw").status == iexec("account withdraw 5 RLC --raw").status == 1
    aborted = iexec(f"wallet send-RLC 1 --to {NOBODY} --raw", stdin="no\n")
    assert json.loads(aborted.err)["error"]["message"] == "Operation aborted by user."


def test_resources(iexec: Iexec, user: User) -> None:
    addresses = deploy_all(iexec, "app", "dataset", "workerpool")
    assert json.loads((user.folder / "deployed.json").read_text()) == {
        kind: {"134": address} for kind, address in addresses.items()
    }
    app = iexec("app show --raw").raw
    assert list(app) == ["ok", "address", "ens", "app"]
    assert list(app["app"]) == [
        *("appChecksum", "appMREnclave", "appMultiaddr", "appName", "appType", "owner", "registry"),
    ]
    assert app["app"]["owner"] == user.wallet.address
    assert iexec("app show 0 --raw").raw == app
    assert iexec(f"app show {addresses['app']} --raw").raw == app
    assert iexec("dataset show --raw").raw["dataset"]["datasetMultiaddr"].startswith("/p2p/Qm")
    pool = iexec("workerpool show --raw").raw
    assert list(pool) == ["ok", "address", "workerpool", "ens"]
    assert pool["workerpool"]["workerStakeRatioPolicy"] == "30"
    assert iexec("app count --raw").raw == {"ok": True, "count": "1"}
    assert iexec(f"app count --user {NOBODY} --raw").raw["count"] == "0"
    assert iexec("app deploy --raw").error == ("Error", f"App already deployed at address {addresses['app']}")
    assert iexec(f"app show {NOBODY} --raw").error == (
        "ObjectNotFoundError",
        f"No app found for id {NOBODY} on chain 134",
    )
    assert iexec("app show 7 --raw").status == 1
    assert iexec("app show foo --raw").error == ("ValidationError", "foo is not a valid uint256")
    assert iexec("workerpool set-api-url http://pool.example --raw").error[1] == (
        f"Missing ENS for workerpool {addresses['workerpool']}. You probably forgot to run "
        f'"iexec ens register <name> --for {addresses["workerpool"]}"'
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "PODMAN"}, "PODMAN is not a valid type"),
        ({"checksum": "0x12"}, "0x12 is not a bytes32 hexstring"),
        ({"owner": "0x12"}, "0x12 is not a valid ethereum address"),
        ({"name": None}, "name is a required field"),
        ({"mrenclave": {"framework": "FOO"}}, "framework is not a valid TEE framework"),
        ({"mrenclave": {"framework": "scone", "version": "v5"}}, "heapSize is a required field"),
        ({"mrenclave": {"framework": "tdx", "version": "v1", "fingerprint": "aa", "heapSize": 1}}, None),
        ({"mrenclave": "{bad"}, None),
        ({"size": 3}, None),
    ],
)
def test_wrong_app_descriptions(iexec: Iexec, user: User, change: dict[str, object], message: str | None) -> None:
    assert iexec("app init --raw").status == 0
    document = json.loads((user.folder / "iexec.json").read_text())
    document["app"] |= change
    (user.folder / "iexec.json").write_text(json.dumps(document))
    name, text = iexec("app deploy --raw").error
    assert name == "ValidationError"
    assert message in (None, text)


def test_names(iexec: Iexec, user: User, chain: Chain) -> None:
    assert iexec("ens resolve core.v5.iexec.eth --raw").raw["address"] == chain.deployment.hub
    assert iexec(f"ens lookup {chain.deployment.hub} --raw").raw["name"] == "core.v5.iexec.eth"
    assert iexec(f"ens lookup {user.wallet.address} --raw").raw == {"ok": True, "name": None}
    assert iexec("ens resolve nope.iexec.eth --raw").raw == {"ok": True, "address": None}
    assert iexec("account show nope.iexec.eth --raw").error[1] == "Unable to resolve ENS nope.iexec.eth"
    assert int(iexec("ens get-owner nope.iexec.eth --raw").raw["owner"], 16) == 0


def test_missing_services(iexec: Iexec, user: User, chain: Chain) -> None:
    own = {"id": "77", "host": chain.url, "hub": chain.deployment.hub, "native": True}
    (user.folder / "chain.json").write_text(json.dumps({"default": "own", "chains": {"own": own}}))
    assert iexec(f"dataset check-secret {NOBODY} --raw").error == ("Error", 'Missing sms in "chain.json" for chain 77')
    assert iexec(f"orderbook app {NOBODY} --raw").error == (
        "Error",
        'Missing iexecGateway in "chain.json" for chain 77',
    )
    assert "ens" not in iexec("wallet show --raw").raw
    down = own | {"sms": "http://127.0.0.1:9", "iexecGateway": "http://127.0.0.1:9"}
    (user.folder / "chain.json").write_text(json.dumps({"default": "own", "chains": {"own": down}}))
    assert iexec(f"dataset check-secret {NOBODY} --raw").error == (
        "SmsCallError",
        "SMS error: Connection to http://127.0.0.1:9 failed with a network error",
    )
    assert iexec(f"orderbook app {NOBODY} --raw").error == (
        "MarketCallError",
        "Market API error: Connection to http://127.0.0.1:9 failed with a network error",
    )
    nowhere = own | {"host": "http://127.0.0.1:9"}
    (user.folder / "chain.json").write_text(json.dumps({"default": "own", "chains": {"own": nowhere}}))
    assert iexec("account show --raw").error[0] == "Web3ProviderCallError"


@pytest.mark.usefixtures("user")
def test_secrets(iexec: Iexec, project: Path, chain: Chain) -> None:
    dataset = deploy_all(iexec, "dataset")["dataset"]
    assert iexec("dataset check-secret --raw").raw == {"ok": True, "isSecretSet": False}
    (project / "key").write_text("a dataset key\n")
    assert iexec("dataset push-secret --secret-path key --raw").out == '{"ok":true}\n'
    assert iexec("dataset check-secret --raw").raw["isSecretSet"] is True
    again = iexec("dataset push-secret --secret-path key --raw").error
    assert again[1] == f"Secret already exists for {dataset} and can't be updated"
    assert iexec("requester push-secret one --secret-value x --raw").raw == {
        "ok": True,
        "isPushed": True,
        "name": "one",
    }
    assert iexec("requester push-secret two --raw", stdin="typed\n").status == 0
    assert iexec("requester check-secret two --raw").raw == {"ok": True, "isSet": True, "name": "two"}
    assert iexec(f"requester check-secret two {NOBODY} --raw").raw["isSet"] is False
    assert iexec("requester push-secret two --secret-value x --raw").status == 1
    app = deploy_all(iexec, "app", app_options="--tee-framework scone")["app"]
    assert iexec("app push-secret --secret-value x --raw").out == '{"ok":true}\n'
    assert iexec(f"app check-secret {app} --raw").raw["isSecretSet"] is True
    stranger = chain.funded_wallet()
    write_wallet(project, stranger)
    (project / "key").write_text("another")
    assert iexec(f"dataset push-secret {dataset} --secret-path key --raw").error[1] in (
        f"Wallet {stranger.address} is not allowed to set secret for {dataset}",
        f"Secret already exists for {dataset} and can't be updated",
    )


@pytest.mark.usefixtures("user")
def test_result_key_and_storage(iexec: Iexec) -> None:
    assert iexec("result check-encryption-key --raw").raw == {"ok": True, "isEncryptionKeySet": False}
    assert iexec("result generate-keys --raw").status == 0
    assert iexec("result push-encryption-key --raw").raw == {"ok": True, "isPushed": True, "isUpdated": False}
    assert iexec("result check-secret --raw").raw == {"ok": True, "isEncryptionKeySet": True}
    assert iexec("result push-secret --raw").status == 1
    assert iexec("result generate-keys --force --raw").status == 0
    assert iexec("result push-secret --force-update --raw").raw == {"ok": True, "isPushed": True, "isUpdated": True}
    assert iexec("storage check --raw").raw == {"ok": True, "isInitialized": False}
    assert iexec("storage init --raw").raw == {"ok": True, "isInitialized": True, "isUpdated": False}
    assert iexec("storage init --raw").error[1] == (
        "default storage is already initialized, use --force-update option to update your storage token"
    )
    assert iexec("storage init dropbox --token abc --raw").raw["isInitialized"] is True
    assert iexec("storage init foo --raw").error == ("Error", '"foo" not supported')


def describe_orders(user: User, **changes: dict[str, object]) -> None:
    document = json.loads((user.folder / "iexec.json").read_text())
    for name, change in changes.items():
        document["order"][name] |= change
    (user.folder / "iexec.json").write_text(json.dumps(document))


def test_orders_are_signed_filled_and_cancelled(iexec: Iexec, user: User) -> None:
    addresses = deploy_all(iexec, "app", "dataset", "workerpool")
    assert iexec("order init --raw").status == 0
    assert iexec("order fill --raw").error == ("Error", "Missing workerpoolorder")
    describe_orders(user, requestorder={name: addresses[name] for name in addresses})
    signed = iexec("order sign --raw").raw
    assert json.loads((user.folder / "orders.json").read_text())["134"] == {
        name: order for name, order in signed.items() if name != "ok"
    }
    assert signed["requestorder"]["params"] == (
        '{"iexec_result_storage_provider":"ipfs","iexec_result_encryption":false,"iexec_input_files":[],"iexec_args":""}'
    )
    deal = iexec("order fill --raw").raw
    assert (list(deal), deal["volume"]) == (["ok", "dealid", "volume", "txHash"], "1")
    assert iexec("order fill --raw").error == ("Error", "workerpoolorder is fully consumed")
    assert iexec("order sign --workerpool --raw").status == 0
    assert iexec("order fill --force --raw", "--params", '{"iexec_args":"x"}').status == 0
    assert list(iexec("order cancel --app --dataset --force --raw").raw) == ["ok", "apporder", "datasetorder"]
    again = iexec("order cancel --app --force --raw")
    assert (again.status, again.out) == (0, "")
    assert again.raw == {"ok": False, "fail": ["apporder: apporder already canceled"]}
    shown = iexec(f"deal show {deal['dealid']} --raw").raw["deal"]
    assert (shown["botSize"], shown["trust"], shown["deadlineReached"]) == ("1", "1", False)
    assert iexec(f"deal show 0x{'12' * 32} --raw").error[0] == "ObjectNotFoundError"
    assert iexec("deal show 0x12 --raw").error == ("ValidationError", "0x12 is not a bytes32 hexstring")


def test_order_sign_tells_each_failure(iexec: Iexec, user: User) -> None:
    """The partial failure that the official suite asserts word for word (reference section 7.4)."""
    dataset = deploy_all(iexec, "app", "dataset", "workerpool", app_options="--tee-framework scone")["dataset"]
    app, pool = (iexec(f"{kind} show --raw").raw["address"] for kind in ("app", "workerpool"))
    assert iexec("order init --raw").status == 0
    describe_orders(
        user,
        apporder={"tag": ["tee", "gramine"]},
        datasetorder={"tag": ["tee", "scone"]},
        workerpoolorder={"tag": ["tee"]},
        requestorder={"app": app, "dataset": dataset, "workerpool": pool, "tag": ["tee", "scone"]},
    )
    ran = iexec("order sign --raw")
    unset = f"Dataset encryption key is not set for dataset {dataset} in the SMS. Dataset decryption will fail."
    assert (ran.status, ran.out) == (0, "")
    assert ran.raw == {
        "ok": False,
        "fail": [
            f"apporder: App requirements check failed: Tag mismatch the TEE framework specified by app {HINT}",
            f"datasetorder: Dataset requirements check failed: {unset} {HINT}",
            "workerpoolorder: 'tee' tag must be used with a tee framework ('scone'|'gramine'|'tdx')",
            f"requestorder: Request requirements check failed: {unset} {HINT}",
        ],
    }
    skipped = iexec("order sign --app --dataset --request --skip-preflight-check --raw")
    assert skipped.raw["ok"] is True


def test_orders_are_traded(iexec: Iexec, user: User, chain: Chain) -> None:
    addresses = deploy_all(iexec, "app", "dataset", "workerpool")
    aborted = iexec("app publish --raw", stdin="n\n")
    assert json.loads(aborted.err)["error"]["message"] == "Operation aborted by user."
    first = iexec("app publish --price 5 --volume 10 --force --raw").raw
    assert list(first) == ["ok", "orderHash"]
    assert iexec("dataset publish --force --raw").status == 0
    assert iexec("workerpool publish --force --volume 3 --raw").status == 0
    assert iexec("workerpool publish --force --tag tee --raw").status == 1
    listed = iexec(f"orderbook app {addresses['app']} --raw").raw
    assert (listed["count"], listed["appOrders"][0]["orderHash"]) == (1, first["orderHash"])
    assert list(listed["appOrders"][0]) == [
        *("orderHash", "price", "remaining", "app", "tag"),
        *("datasetrestrict", "workerpoolrestrict", "requesterrestrict"),
    ]
    assert listed["appOrders"][0]["price"] == 5
    assert iexec(f"orderbook workerpool {addresses['workerpool']} --category 0 --raw").raw["count"] == 1
    assert iexec("orderbook workerpool --tag foo --raw").error == (
        "ValidationError",
        "foo is not a valid tag. Unknown tag foo",
    )
    shown = iexec(f"order show --app {first['orderHash']} --deals --raw").raw["apporder"]
    assert (shown["status"], shown["remaining"], shown["deals"]) == ("open", 10, {"count": 0, "lastDeals": []})
    missing = iexec(f"order show --app 0x{'12' * 32} --raw")
    assert missing.raw["fail"] == ["apporder: API error: apporder not found"]
    buyer = chain.funded_wallet()
    write_wallet(user.folder, buyer)
    assert iexec("account deposit 1 RLC --raw").status == 0
    bought = iexec(f"app run --dataset deployed --workerpool {addresses['workerpool']} --force --raw")
    assert (bought.status, bought.err) == (0, "")
    deal = iexec(f"deal show {bought.raw['deals'][0]['dealid']} --raw").raw["deal"]
    assert (deal["requester"], deal["app"]["price"], deal["dataset"]["pointer"]) == (
        buyer.address,
        "5",
        addresses["dataset"],
    )
    assert iexec("app unpublish --force --raw").error[1].startswith("API error: no open apporder published by signer")
    write_wallet(user.folder, user.wallet)
    assert iexec("app unpublish --force --raw").raw == {"ok": True, "unpublished": first["orderHash"]}
    assert iexec("dataset unpublish --all --force --raw").raw["ok"] is True
    write_wallet(user.folder, buyer)
    assert iexec("app run --force --raw").error == ("Error", f"No order available for app {addresses['app']}")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--tag", "tee"], "'tee' tag must be used with a tee framework ('scone'|'gramine'|'tdx')"),
        (["--tag", "foo"], "foo is not a valid tag. Unknown tag foo"),
        (["--secret", "a=b"], "requester secret mapping keys must be strictly positive integers"),
        (["--params", "{bad"], "{bad is not a valid params, must be a json"),
        (["--category", "a"], "a is not a valid uint256"),
        (["--callback", "0x12"], "0x12 is not a valid ethereum address"),
        (["foo"], "foo is not a valid ethereum address"),
    ],
)
def test_wrong_purchases(iexec: Iexec, user: User, options: list[str], error: str) -> None:
    (user.folder / "deployed.json").write_text(json.dumps({"app": {"134": NOBODY}}))
    assert iexec("app run --force --raw", *options).error == ("ValidationError", error)


def finish(chain: Chain, owner: Wallet, deal_id: str, results: bytes) -> str:
    """Do what scheduler and worker of a task of trust 1 do; returns the task's id."""
    from adyton.base.types import ZERO_ADDRESS, parse_bytes32, word_bytes  # noqa: PLC0415
    from adyton.chain.calldata import HubCalls  # noqa: PLC0415
    from adyton.chain.hashing import authorization_hash  # noqa: PLC0415

    hub, worker = chain.deployment.hub, chain.funded_wallet()
    deal = parse_bytes32(deal_id)
    task, digest = make_task_id(deal, 0), parse_bytes32("0x" + "ab" * 32)
    TxSender(chain.rpc, owner, 134).send(hub, HubCalls.initialize(deal, 0))
    allowed = owner.sign_personal(word_bytes(authorization_hash(worker.address, task, ZERO_ADDRESS)))
    sealed = (result_hash(task, digest), result_seal(worker.address, task, digest))
    worker_sends = TxSender(chain.rpc, worker, 134)
    worker_sends.send(hub, HubCalls.contribute(task, *sealed, ZERO_ADDRESS, b"", allowed))
    worker_sends.send(hub, HubCalls.reveal(task, digest))
    TxSender(chain.rpc, owner, 134).send(hub, HubCalls.finalize(task, results))
    return task


def test_a_result_is_downloaded_and_opened(iexec: Iexec, user: User, chain: Chain, services: Services) -> None:
    from adyton.compute.encryption import encrypt_result  # noqa: PLC0415  # slow to load

    deploy_all(iexec, "app", "workerpool")
    deal = iexec("app run --workerpool deployed --args hello --force --raw").raw["deals"][0]["dealid"]
    task = iexec(f"deal show {deal} --raw").raw["deal"]["tasks"][0]
    assert iexec(f"task show {task} --raw").error == (
        "ObjectNotFoundError",
        f"No task found for id {task} on chain 134",
    )
    assert iexec("result generate-keys --raw").status == 0
    public = next((user.folder / ".secrets/beneficiary").glob("*.pub")).read_bytes()
    ipfs = IpfsClient(services.results, services.results)
    cid = ipfs.add(encrypt_result(b"PK\x03\x04 the result", public))
    ipfs.close()
    assert (
        finish(chain, user.wallet, deal, json.dumps({"storage": "ipfs", "location": f"/ipfs/{cid}"}).encode()) == task
    )
    shown = iexec(f"task show {task} --watch --raw").raw
    assert (shown["task"]["statusName"], shown["claimable"]) == ("COMPLETED", False)
    assert list(shown["task"])[:4] == ["taskid", "status", "dealid", "idx"]
    assert list(shown["task"])[-2:] == ["statusName", "taskTimedOut"]
    path = iexec(f"task show {task} --download out --decrypt --raw").raw["resultPath"]
    assert path == str(user.folder / "out.zip")
    assert (user.folder / "out.zip").read_bytes() == b"PK\x03\x04 the result"
    assert iexec(f"task show {task} --download --raw").raw["resultPath"] == str(user.folder / f"{task}.zip")
    watched = iexec(f"deal show {deal} --watch --raw").raw
    assert (watched["tasksCount"], watched["completedTasksCount"], watched["failedTasksCount"]) == (1, 1, 0)
    debugged = iexec(f"task debug {task} --raw")
    assert list(debugged.raw) == ["ok", "onchainData"]
