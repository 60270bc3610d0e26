"""The command-line grammar, by the messages and statuses that the official client has (reference section 0.1)."""

from __future__ import annotations

import importlib

import pytest

from adyton.cli.iexec.grammar import Arguments, Command, Group, Invocation, Option, Reply, Verb, parse, snake
from adyton.cli.iexec.main import _command
from adyton.cli.iexec.suggest import suggestion
from adyton.cli.iexec.table import TABLE

OPTIONS = (
    Option("--raw", "r"),
    Option("--chain <name>", "c"),
    Option("--download [fileName]", "d"),
    Option("--gas-price <amount unit...>", "g"),
    Option("--tee-framework <name>", "t", choices=("scone", "gramine", "tdx")),
)
COMMANDS = {
    "deposit": Command("<amount> [unit]", OPTIONS),
    "count": Command(options=OPTIONS),
    "keys": Command(options=OPTIONS),
    "init": Command(options=OPTIONS),
}
SMALL = (
    Verb("init", "start", "init"),
    Group(
        "account",
        "money",
        (Verb("deposit", "in", "deposit"), Verb("count", "n", "count"), Verb("make-keys", "k", "keys", ("mk",))),
    ),
)


BAD_CHOICE = "error: option '--tee-framework <name>' argument"
CHOICES = "is invalid. Allowed choices are scone, gramine, tdx."


def read(line: str) -> Invocation | Reply:
    return parse(line.split(), SMALL, lambda verb: COMMANDS[verb.module])


def values(line: str) -> dict[str, object]:
    found = read(line)
    assert isinstance(found, Invocation), found
    return dict(found.arguments.values)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("account deposit 5", {"amount": "5"}),
        ("account deposit 5 RLC --raw", {"amount": "5", "unit": "RLC", "raw": True}),
        ("account deposit --raw 5", {"amount": "5", "raw": True}),
        ("account deposit --raw --raw 5", {"amount": "5", "raw": True}),
        ("account deposit 5 --chain=x", {"amount": "5", "chain": "x"}),
        ("account deposit 5 --gas-price 1 gwei --raw", {"amount": "5", "gas_price": ["1", "gwei"], "raw": True}),
        ("account deposit 5 --gas-price -1", {"amount": "5", "gas_price": ["-1"]}),
        ("account deposit --gas-price 1 gwei -- 5 RLC", {"amount": "5", "unit": "RLC", "gas_price": ["1", "gwei"]}),
        ("account deposit --raw -- -1", {"amount": "-1", "raw": True}),
        ("account count --download", {"download": True}),
        ("account count --download x.zip", {"download": "x.zip"}),
        ("account count --download --raw", {"download": True, "raw": True}),
        ("account count --chain -h", {"chain": "-h"}),
        ("account count --gas-price 1 --gas-price 2", {"gas_price": ["1", "2"]}),
        ("account count --tee-framework tdx", {"tee_framework": "tdx"}),
        ("init --raw", {"raw": True}),
    ],
)
def test_reads_values(line: str, expected: dict[str, object]) -> None:
    assert values(line) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("account count a b", "error: too many arguments for 'count'. Expected 0 arguments but got 2."),
        ("account deposit a b c", "error: too many arguments for 'deposit'. Expected 2 arguments but got 3."),
        ("account deposit", "error: missing required argument 'amount'"),
        ("account deposit -1", "error: unknown option '-1'"),
        ("account deposit -- -1", "error: unknown option '-1'"),
        ("account count --test", "error: unknown option '--test'"),
        ("account count --chian x", "error: unknown option '--chian'\n(Did you mean --chain?)"),
        ("account count --chain", "error: option '--chain <name>' argument missing"),
        ("account count --tee-framework foo --raw", f"{BAD_CHOICE} 'foo' {CHOICES}"),
        ("account count --tee-framework SCONE", f"{BAD_CHOICE} 'SCONE' {CHOICES}"),
    ],
)
def test_refuses_a_verbs_words_without_usage(line: str, message: str) -> None:
    assert read(line) == Reply(1, stderr=f"{message}\n")


@pytest.mark.parametrize(
    ("line", "begin", "usage"),
    [
        ("", "", "Usage: iexec [command] [options]"),
        ("account", "", "Usage: iexec account <command> [options]"),
        ("tst", "error: unknown command 'tst'\n\n", "Usage: iexec [command] [options]"),
        ("acount", "error: unknown command 'acount'\n(Did you mean account?)\n\n", "Usage: iexec [command] [options]"),
        ("account dep", "error: unknown command 'dep'\n(Did you mean help?)\n\n", "Usage: iexec account"),
        ("--test", "error: unknown option '--test'\n\n", "Usage: iexec [command] [options]"),
        ("account --test", "error: unknown option '--test'\n\n", "Usage: iexec account"),
        ("account --raw count", "error: unknown option '--raw'\n\n", "Usage: iexec account"),
        ("help nope", "", "Usage: iexec [command] [options]"),
        ("account help nope", "", "Usage: iexec account"),
    ],
)
def test_shows_usage_on_standard_error(line: str, begin: str, usage: str) -> None:
    found = read(line)
    assert isinstance(found, Reply)
    assert found.status == 1
    assert found.stdout == ""
    assert found.stderr.startswith(begin + usage)
    assert "Links:" in found.stderr


@pytest.mark.parametrize(
    ("line", "usage"),
    [
        ("--help", "Usage: iexec [command] [options]"),
        ("help", "Usage: iexec [command] [options]"),
        ("nope --help", "Usage: iexec [command] [options]"),
        ("-h account", "Usage: iexec [command] [options]"),
        ("account -h", "Usage: iexec account <command> [options]"),
        ("help account", "Usage: iexec account <command> [options]"),
        ("account help", "Usage: iexec account <command> [options]"),
        ("account nope --help", "Usage: iexec account <command> [options]"),
        ("account deposit -h", "Usage: iexec account deposit [options] <amount> [unit]"),
        ("account help deposit", "Usage: iexec account deposit [options] <amount> [unit]"),
        ("account deposit 5 --raw --nope --help", "Usage: iexec account deposit [options] <amount> [unit]"),
        ("account mk --help", "Usage: iexec account make-keys|mk [options]"),
        ("help init", "Usage: iexec init [options]"),
    ],
)
def test_shows_help(line: str, usage: str) -> None:
    found = read(line)
    assert isinstance(found, Reply)
    assert (found.status, found.stderr) == (0, "")
    assert found.stdout.startswith(usage + "\n")
    assert found.stdout.rstrip().splitlines()[-2:][0] == "Links:"


@pytest.mark.parametrize("line", ["-V", "--version", "account -V", "account count --raw --version", "account nope -V"])
def test_version_everywhere(line: str) -> None:
    assert read(line) == Reply(0, stdout="8.24.0\n")


def test_version_behind_double_dash_is_a_word() -> None:
    assert values("account deposit --raw -- -V") == {"amount": "-V", "raw": True}


def test_path_is_as_typed() -> None:
    alias, plain = read("account mk"), read("account make-keys")
    assert isinstance(alias, Invocation)
    assert isinstance(plain, Invocation)
    assert (alias.path, alias.verb.name, plain.path) == ("iexec account mk", "make-keys", "iexec account make-keys")


@pytest.mark.parametrize(
    ("word", "candidates", "line"),
    [
        ("sendeth", ["send-ether", "sendETH", "send-RLC", "sendRLC"], "one of send-ether, sendETH, sendRLC"),
        ("shw", ["show", "init"], "show"),
        ("ab", ["xy"], ""),
        ("--cha", ["--chain", "--raw"], "--chain"),
        ("hsow", ["show"], "show"),
    ],
)
def test_suggests_the_nearest(word: str, candidates: list[str], line: str) -> None:
    assert suggestion(word, candidates) == (f"\n(Did you mean {line}?)" if line else "")


@pytest.mark.parametrize(("name", "expected"), [("gas-price", "gas_price"), ("appAddress", "app_address")])
def test_names(name: str, expected: str) -> None:
    assert snake(name) == expected


def test_arguments_by_type() -> None:
    arguments = Arguments({"chain": "x", "raw": True, "gas_price": ["1"]})
    assert (arguments.text("chain"), arguments.text("raw"), arguments.text("none")) == ("x", None, None)
    assert (arguments.flag("raw"), arguments.flag("chain"), arguments.flag("none")) == (True, True, False)
    assert (arguments.words("gas_price"), arguments.words("chain")) == (["1"], None)


def all_verbs() -> list[Verb]:
    return [verb for row in TABLE for verb in (row.verbs if isinstance(row, Group) else [row])]


@pytest.mark.parametrize("verb", all_verbs(), ids=lambda verb: f"{verb.module.rpartition('iexec.')[2]}-{verb.subject}")
def test_every_row_has_its_module(verb: Verb) -> None:
    command = _command(verb)
    names = [option.long for option in command.options]
    assert len(names) == len(set(names))
    assert {"--raw", "--quiet"} <= set(names)
    assert callable(importlib.import_module(verb.module).run)
