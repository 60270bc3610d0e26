"""A whole network, started, used, stopped and started again with the public commands."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.network.support import BIN, RunningNetwork, adyton, running_network
from tests.waiting import PATIENCE_S, until

from adyton.base.secret import Secret
from adyton.devnet import supervision
from adyton.devnet.demo import owners
from adyton.devnet.demo.people import Person
from adyton.devnet.network import PRODUCTION_POOL

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def network() -> Iterator[RunningNetwork]:
    with running_network() as running:
        yield running


def state(network: RunningNetwork) -> tuple[str, str]:
    return ("--state", str(network.paths.root))


def person(network: RunningNetwork, name: str, folder: Path) -> Person:
    someone = Person.create(name, folder / name, network.description.chain_json())
    assert adyton("fund", someone.address, *state(network)).returncode == 0
    return someone


def test_status_shows_every_service_ready(network: RunningNetwork) -> None:
    shown = json.loads(adyton("status", "--json", *state(network)).stdout)
    assert shown["ready"] is True
    names = {service["name"] for service in shown["services"]}
    assert {"chain", "platform", "cas", "sms", "sms-debug", "market", "results", "scheduler", "worker"} <= names
    assert shown["network"]["tier"].startswith("sim:")


def test_a_second_start_is_refused_with_the_remedy(network: RunningNetwork) -> None:
    again = adyton("up", "--detach", *state(network))
    assert again.returncode == 1
    assert "already running" in again.stderr
    assert "adyton down" in again.stderr


def test_a_taken_port_names_who_has_it(network: RunningNetwork, tmp_path: Path) -> None:
    port = network.description.sms.rsplit(":", 1)[1]
    options = [word if not word.startswith("sms=") else f"sms={port}" for word in network.port_options]
    other = adyton("up", "--detach", "--state", str(tmp_path / "n"), *options)
    assert other.returncode == 1
    assert f"port {port}" in other.stderr or "is taken" in other.stderr
    assert "--port" in other.stderr


def test_a_killed_service_comes_back(network: RunningNetwork) -> None:
    word = supervision.read(network.paths)
    assert word is not None
    market = next(service for service in word.services if service.name == "market")
    os.kill(market.pid, signal.SIGKILL)

    def came_back() -> bool:
        word = supervision.read(network.paths)
        assert word is not None
        now = next(service for service in word.services if service.name == "market")
        return now.pid != market.pid and now.state == "ready"

    until(came_back, what="the market's return")


def test_secrets_orders_and_finished_tasks_survive_a_restart(network: RunningNetwork, tmp_path: Path) -> None:
    developer, requester = person(network, "developer", tmp_path), person(network, "requester", tmp_path)
    native = tmp_path / "hello-native"
    owners.tool(
        tmp_path, "adyton", "image", "build", str(owners.APPS / "hello"), str(native), "--command", owners.COMMAND
    )
    app = owners.deploy_application(developer, network.description, "hello", native, None)
    order = owners.publish_application(developer, app, price=0, tag=None)
    requester.iexec("requester", "push-secret", "kept", answers=(Secret("value"),))
    run = ("app", "run", app.address, "--workerpool", PRODUCTION_POOL, "--args", "again", "--watch", "--force")
    answer = requester.iexec(*run)
    deal = answer["deals"][0]["dealid"]
    task = answer["tasks"][0]["taskid"]
    before = network.description

    network.down()
    assert adyton("status", *state(network)).returncode == 3
    network.up()

    assert network.description.measurements == before.measurements
    assert network.description.pools == before.pools
    assert requester.iexec("requester", "check-secret", "kept")["isSet"] is True
    assert requester.iexec("deal", "show", deal)["deal"]["dealid"] == deal
    assert requester.iexec("task", "show", task, "--download", "result")["task"]["statusName"] == "COMPLETED"
    found = developer.iexec("orderbook", "app", app.address)["appOrders"]
    assert [entry["orderHash"] for entry in found] == [order]
    with pytest.raises(Exception, match="already exists"):
        requester.iexec("requester", "push-secret", "kept", answers=(Secret("other"),))
    assert requester.iexec(*run)["tasks"][0]["statusName"] == "COMPLETED"


def test_logs_of_one_service(network: RunningNetwork) -> None:
    shown = adyton("logs", "worker", "-n", "3", *state(network))
    assert shown.returncode == 0
    assert all(line.startswith("worker |") for line in shown.stdout.splitlines())


def test_no_secret_is_in_any_log_config_or_status(network: RunningNetwork) -> None:
    keys = [file.read_text().strip().removeprefix("0x") for file in network.paths.wallets.glob("*.key")]
    assert keys
    places = [*network.paths.logs.iterdir(), *network.paths.config.iterdir(), network.paths.network_file]
    for place in places:
        text = place.read_text(errors="replace")
        assert not [key for key in keys if key in text], place


def test_foreground_shows_a_table_and_stops_on_ctrl_c(network: RunningNetwork, tmp_path: Path) -> None:
    """The network of the module must be down for its ports, and stays so: this is the last test that needs it."""
    if shutil.which("script") is None:
        pytest.skip("the program 'script' (util-linux) is missing: no terminal to show the live table on")
    network.down()
    transcript = tmp_path / "transcript"
    command = [str(BIN / "adyton"), "up", *state(network), *network.port_options]
    quoted = " ".join(command)
    with subprocess.Popen(
        ["script", "-qfc", quoted, str(transcript)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=dict(os.environ, TERM="xterm-256color", COLUMNS="120", LINES="50"),
    ) as shown:

        def ready() -> supervision.Status | None:
            word = supervision.read(network.paths)
            return word if word is not None and word.phase == "ready" else None

        word = until(ready, 240, what="the start")
        assert word is not None
        until(lambda: "ready in" in transcript.read_text(errors="replace"), what="the table")
        os.kill(word.pid, signal.SIGINT)
        shown.wait(PATIENCE_S)
    text = transcript.read_text(errors="replace")
    assert "SERVICE" in text
    assert "ready in" in text
    assert supervision.read(network.paths) is None or not word.alive()
