"""The commands that there are, in the order of help; a new verb is a row here and a module.

Only the modules of what is run, or whose help is shown, are imported.
"""

from __future__ import annotations

from typing import Final

from adyton.cli.iexec.grammar import Group, Verb

_HERE: Final = "adyton.cli.iexec"


def _verb(name: str, summary: str, module: str, *aliases: str, subject: str = "") -> Verb:
    return Verb(name, summary, f"{_HERE}.{module}", aliases, subject)


def _of_asset(kind: str, own: tuple[Verb, ...]) -> tuple[Verb, ...]:
    """The verbs that all three kinds of resources have, around those that only this one has."""
    return (
        _verb("init", f"describe a new {kind} in iexec.json", f"{kind}.init"),
        _verb("deploy", f"create the {kind} of iexec.json on the chain", "asset.deploy", subject=kind),
        _verb("show", f"show a {kind} (the last deployed one, by address, or by number)", "asset.show", subject=kind),
        _verb("count", f"count the {kind}s of an account", "asset.count", subject=kind),
        *own,
        _verb("publish", f"offer a {kind} on the marketplace", "asset.publish", subject=kind),
        _verb("unpublish", f"withdraw the last offer of a {kind}", "asset.unpublish", subject=kind),
    )


TABLE: Final[tuple[Verb | Group, ...]] = (
    _verb("init", "start a project: iexec.json, chain.json and a wallet", "init"),
    Group(
        "wallet",
        "make and use wallets",
        (
            _verb("create", "make a wallet with a new key", "wallet.create"),
            _verb("import", "make a wallet from a private key", "wallet.import_key"),
            _verb("show", "show what a wallet holds", "wallet.show"),
            _verb("send-RLC", "transfer RLC to an address (default unit RLC)", "wallet.send_rlc"),
        ),
    ),
    Group(
        "account",
        "manage the money in the marketplace",
        (
            _verb("deposit", "move RLC from the wallet to the account (default unit nRLC)", "account.deposit"),
            _verb("withdraw", "move RLC from the account to the wallet (default unit nRLC)", "account.withdraw"),
            _verb("show", "show what an account has", "account.show"),
        ),
    ),
    Group(
        "app",
        "manage and run apps",
        _of_asset(
            "app",
            (
                _verb("check-secret", "tell whether an app has its secret in the SMS", "app.check_secret"),
                _verb("push-secret", "give an app its secret, for ever", "app.push_secret"),
                _verb("run", "buy one execution of an app at market price", "app.run"),
            ),
        ),
    ),
    Group(
        "dataset",
        "manage datasets",
        _of_asset(
            "dataset",
            (
                _verb("encrypt", "encrypt the files of datasets/original", "dataset.encrypt"),
                _verb("push-secret", "give the SMS a dataset's key, for ever", "dataset.push_secret"),
                _verb("check-secret", "tell whether the SMS has a dataset's key", "dataset.check_secret"),
            ),
        ),
    ),
    Group(
        "workerpool",
        "manage workerpools",
        _of_asset(
            "workerpool",
            (_verb("set-api-url", "register the URL of a workerpool's scheduler", "workerpool.set_api_url"),),
        ),
    ),
    Group(
        "requester",
        "secrets of those who buy executions",
        (
            _verb("push-secret", "put a named secret into the SMS, for ever", "requester.push_secret"),
            _verb("check-secret", "tell whether a named secret is in the SMS", "requester.check_secret"),
        ),
    ),
    Group(
        "order",
        "make, sign and trade orders",
        (
            _verb("init", "describe new orders in iexec.json", "order.init"),
            _verb("sign", "sign the orders of iexec.json into orders.json", "order.sign"),
            _verb("fill", "make a deal of matching orders", "order.fill"),
            _verb("publish", "offer signed orders on the marketplace", "order.publish"),
            _verb("unpublish", "withdraw orders from the marketplace", "order.unpublish"),
            _verb("cancel", "make orders void on the chain, for ever", "order.cancel"),
            _verb("show", "show orders of the marketplace", "order.show"),
        ),
    ),
    Group(
        "orderbook",
        "look at the offers of the marketplace",
        (
            _verb("app", "list offers of an app", "orderbook.show", subject="app"),
            _verb("dataset", "list offers of a dataset", "orderbook.show", subject="dataset"),
            _verb("workerpool", "list offers of workerpools", "orderbook.show", subject="workerpool"),
            _verb("requester", "list requests for executions", "orderbook.show", subject="requester"),
        ),
    ),
    Group("deal", "follow deals", (_verb("show", "show a deal and its tasks", "deal.show"),)),
    Group(
        "task",
        "follow tasks and fetch results",
        (
            _verb("show", "show a task; fetch its result", "task.show"),
            _verb("debug", "show what the workerpool says about a task", "task.debug"),
        ),
    ),
    Group(
        "storage",
        "give tasks access to result storage",
        (
            _verb("init", "put a storage token into the SMS", "storage.init"),
            _verb("check", "tell whether the SMS has a storage token", "storage.check"),
        ),
    ),
    Group(
        "result",
        "encrypted results",
        (
            _verb(
                "generate-encryption-keypair",
                "make the key pair that results are encrypted for",
                "result.generate_keys",
                "generate-keys",
            ),
            _verb("decrypt", "open an encrypted result", "result.decrypt"),
            _verb(
                "push-encryption-key",
                "give the SMS the key that results are encrypted for",
                "result.push_key",
                "push-secret",
            ),
            _verb(
                "check-encryption-key",
                "tell whether the SMS has an account's result key",
                "result.check_key",
                "check-secret",
            ),
        ),
    ),
    Group(
        "ens",
        "names of addresses",
        (
            _verb("resolve", "find the address of a name", "ens.resolve"),
            _verb("lookup", "find the name of an address", "ens.lookup"),
            _verb("get-owner", "find the owner of a name", "ens.get_owner"),
        ),
    ),
    Group(
        "category",
        "size classes of tasks",
        (
            _verb("init", "describe a new category in iexec.json", "category.init"),
            _verb("show", "show a category", "category.show"),
            _verb("count", "count the categories", "category.count"),
        ),
    ),
    _verb("info", "show the addresses of the chain's contracts", "info"),
)
