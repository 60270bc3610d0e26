"""The official client as oracle: the same words in the same folder must give the same bytes (marker ``official``)."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Iexec, Ran, User
from .test_chain import NOBODY, deploy_all, describe_orders

NODE_MODULES = Path(__file__).parents[2] / "node_modules"

pytestmark = [
    pytest.mark.official,
    pytest.mark.skipif(
        not (NODE_MODULES / ".bin/iexec").exists(), reason="the official client is missing: npm ci installs it"
    ),
]

Official = Callable[..., Ran]


@pytest.fixture
def official(project: Path) -> Official:
    def run(line: str, *more: str) -> Ran:
        ran = subprocess.run(
            [str(NODE_MODULES / ".bin/iexec"), *line.split(), *more],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=project,
            env=os.environ | {"NO_COLOR": "1"},
            timeout=60,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    return run


@pytest.mark.parametrize("line", ["app count --chian x", "app init --tee-framework foo --raw"])
def test_same_grammar(iexec: Iexec, official: Official, line: str) -> None:
    assert iexec(line) == official(line)


@pytest.mark.parametrize("line", ["app shw"])
def test_same_first_lines_of_usage(iexec: Iexec, official: Official, line: str) -> None:
    def head(ran: Ran) -> tuple[int, bool, str]:
        return ran.status, bool(ran.out), re.split(r"Options:|iExec SDK|Confid", ran.out + ran.err)[0]

    assert head(iexec(line)) == head(official(line))


@pytest.mark.parametrize("line", ["app init --tee-framework gramine --raw", "order init --raw"])
def test_same_templates(iexec: Iexec, official: Official, user: User, line: str) -> None:
    ours = iexec(line)
    written = (user.folder / "iexec.json").read_bytes()
    (user.folder / "iexec.json").write_text("{}")
    assert ours == official(line)
    assert written == (user.folder / "iexec.json").read_bytes()


@pytest.mark.parametrize("content", ['{"default":"x","chains":{"x":{"id":134}}}'])
def test_same_complaints_about_chain_json(iexec: Iexec, official: Official, project: Path, content: str) -> None:
    (project / "chain.json").write_text(content)
    line = f"account show {NOBODY} --raw"
    assert iexec(line) == official(line)


@pytest.mark.usefixtures("user")
def test_same_views_of_the_chain(iexec: Iexec, official: Official) -> None:
    deploy_all(iexec, "app", "workerpool")
    assert iexec("account deposit 1 RLC --raw").status == 0
    deal = iexec("app run --workerpool deployed --args hello --force --raw").raw["deals"][0]["dealid"]
    for line in ("info", "wallet show", "app show", f"deal show {deal}"):
        assert iexec(f"{line} --raw") == official(f"{line} --raw"), line


def test_orders_go_both_ways(iexec: Iexec, official: Official, user: User) -> None:
    addresses = deploy_all(iexec, "app", "dataset", "workerpool")
    assert iexec("order init --raw").status == 0
    describe_orders(user, requestorder=dict(addresses))
    assert iexec("order sign --raw").status == 0
    assert official("order fill --raw").raw["volume"] == "1"
    theirs = official("order sign --raw").raw
    ours = {name: order["sign"] for name, order in json.loads((user.folder / "orders.json").read_text())["134"].items()}
    assert ours == {name: theirs[name]["sign"] for name in ours}
    assert iexec("order fill --raw").raw["volume"] == "1"


def test_files_go_both_ways(iexec: Iexec, official: Official, user: User) -> None:
    (user.folder / "wallet.json").unlink()
    made = iexec("wallet create --password secret --keystoredir local --raw").raw
    address = made["address"]
    theirs = official("wallet show --password secret --keystoredir local --show-private-key --raw").raw["wallet"]
    assert theirs["address"] == address
    again = iexec("wallet show --password secret --keystoredir local --show-private-key --raw").raw["wallet"]
    assert again == theirs
