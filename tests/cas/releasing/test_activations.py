"""Activations: a limited service is released so often and not once more, whatever happens at the same time."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.cas.documents import APP, POST, small_document, to_yaml
from tests.cas.drill import Drill, wait_until_up
from tests.cas.house import House, Running
from tests.waiting import PATIENCE_S

from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.cas.client.enclaves import AttestationRefusedError, AttestedClient
from adyton.cas.client.operator import make_identity
from adyton.cas.operation import rotate_keys
from adyton.cas.store.audit import read_entries
from adyton.cas.store.tables import open_database

APP_ENCLAVE, POST_ENCLAVE = bytes.fromhex(APP), bytes.fromhex(POST)
LIMIT = 3


def limited(name: str, limit: int = LIMIT, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    services = [
        {"name": "app", "mrenclaves": [APP], "max_activations": limit},
        {"name": "free", "mrenclaves": [APP]},
    ]
    return small_document(name=name, services=services, **changes)


def outcome(client: AttestedClient, session: str, service: str = "app") -> str:
    try:
        client.fetch(session, service)
    except AttestationRefusedError as error:
        return error.code
    return "released"


def outcomes(times: int, call: Callable[[], str]) -> list[str]:
    return [call() for _ in range(times)]


def test_the_limit_holds_for_the_service_that_has_it(cas: Running) -> None:
    cas.owner().create(to_yaml(limited("counted")))
    client = cas.enclave(cas.world.platform(APP_ENCLAVE))
    assert outcomes(LIMIT + 2, lambda: outcome(client, "counted")) == [
        *["released"] * LIMIT,
        *["cas.release.activations"] * 2,
    ]
    assert outcome(client, "counted", "free") == "released"


def test_a_renewal_is_no_activation(cas: Running) -> None:
    cas.owner().create(to_yaml(limited("running", 1)))
    client = cas.enclave(cas.world.platform(APP_ENCLAVE))
    first = client.fetch("running", "app")
    for _ in range(3):
        renewed = client.fetch("running", "app", first.activation)
        assert renewed.certificate != first.certificate
        assert renewed.activation == first.activation
    assert outcome(client, "running") == "cas.release.activations"
    assert first.activation.reveal() not in repr(first)


@pytest.mark.parametrize("given", ["another session", "another service", "another program", "made up"])
def test_a_renewal_shows_what_this_very_program_was_told(cas: Running, given: str) -> None:
    name = f"shown {given}".replace(" ", "-")
    services = [
        {"name": "app", "mrenclaves": [APP, POST], "max_activations": 2},
        {"name": "free", "mrenclaves": [APP]},
    ]
    for each in (name, f"{name}-other"):
        cas.owner().create(to_yaml(small_document(name=each, services=services)))
    client, other = (cas.enclave(cas.world.platform(program)) for program in (APP_ENCLAVE, POST_ENCLAVE))
    shown = {
        "another session": lambda: client.fetch(f"{name}-other", "app").activation,
        "another service": lambda: client.fetch(name, "free").activation,
        "another program": lambda: other.fetch(name, "app").activation,
        "made up": lambda: Secret("5a" * 32),
    }[given]()
    used = 1 if given == "another program" else 0
    for _ in range(2 - used):
        client.fetch(name, "app", shown)
    with pytest.raises(AttestationRefusedError) as caught:
        client.fetch(name, "app", shown)
    assert caught.value.code == "cas.release.activations"


def test_a_renewal_after_an_exchange_of_the_keys_counts_once(house: House) -> None:
    admin = make_identity(house.folder / "operator")
    with house.open(admins=(admin,)) as cas:
        cas.owner("operator")
        cas.owner().create(to_yaml(limited("turned", 2)))
        client = cas.enclave(cas.world.platform(APP_ENCLAVE))
        before = client.fetch("turned", "app").activation
        rotate_keys(cas.url, house.folder / "operator")
        after = client.fetch("turned", "app", before).activation
        assert after != before
        client.fetch("turned", "app", after)
        assert outcome(client, "turned") == "cas.release.activations"


def test_refusals_do_not_count(cas: Running) -> None:
    cas.owner().create(to_yaml(limited("wasted", 1)))
    stranger = cas.enclave(cas.world.platform(POST_ENCLAVE))
    assert outcomes(3, lambda: outcome(stranger, "wasted")) == ["cas.release.refused"] * 3
    assert outcome(cas.enclave(cas.world.platform(APP_ENCLAVE)), "wasted") == "released"


def test_many_at_once(cas: Running) -> None:
    cas.owner().create(to_yaml(limited("crowd")))
    clients = [cas.enclave(cas.world.platform(APP_ENCLAVE)) for _ in range(10)]
    with ThreadPoolExecutor(len(clients)) as hands:
        found = list(hands.map(lambda client: outcome(client, "crowd"), clients))
    assert found.count("released") == LIMIT
    assert found.count("cas.release.activations") == len(clients) - LIMIT


def test_a_restart_does_not_start_anew(house: House) -> None:
    for expected in ("released", "released", "released", "cas.release.activations"):
        with house.open() as cas:
            if expected == "released":
                cas.owner().create(to_yaml(limited("kept")))  # the same document again: no new session
            assert outcome(cas.enclave(cas.world.platform(APP_ENCLAVE)), "kept") == expected


def test_an_update_does_not_start_anew_but_may_raise_the_limit(cas: Running) -> None:
    owner = cas.owner()
    current = owner.create(to_yaml(limited("raised", 1))).hash
    client = cas.enclave(cas.world.platform(APP_ENCLAVE))
    assert outcome(client, "raised") == "released"
    assert owner.show("raised").hash == current  # counting is no update
    current = owner.create(to_yaml(limited("raised", 1, version="0.3.1", predecessor=current))).hash
    assert outcome(client, "raised") == "cas.release.activations"
    owner.create(to_yaml(limited("raised", 2, predecessor=current)))
    assert outcomes(2, lambda: outcome(client, "raised")) == ["released", "cas.release.activations"]


def test_updates_and_activations_at_once_lose_nothing(cas: Running) -> None:
    owner = cas.owner()
    current = owner.create(to_yaml(limited("busy", 5))).hash
    client = cas.enclave(cas.world.platform(APP_ENCLAVE))

    def activate() -> str:
        for _ in range(1000):
            try:
                return outcome(client, "busy")
            except UnavailableError as error:  # asked again where the session changed meanwhile
                if error.code != "cas.release.changed":
                    raise
        return "changed each time"

    with ThreadPoolExecutor(2) as hands:
        done = hands.submit(lambda: outcomes(8, activate))
        for number in itertools.count(1):
            info = owner.create(to_yaml(limited("busy", 5, version=f"0.3.{number % 999}", predecessor=current)))
            current = info.hash
            if done.done():
                break
        found = done.result()
    assert found.count("released") == 5
    assert found.count("cas.release.activations") == 3


@pytest.mark.filterwarnings(r"ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_a_kill_at_any_moment_gives_none_away(house: House) -> None:
    """A CAS process is killed while enclaves fetch: what was answered never exceeds the limit."""
    limit, kills, hands = 40, 4, 2
    chance = random.Random(5)  # noqa: S311  # moments to kill at, nothing secret
    drill = Drill(house, seed=0)
    answered: list[str] = []

    def fetch_all(cas: Running) -> None:
        client = cas.enclave(cas.world.platform(APP_ENCLAVE))
        with contextlib.suppress(UnavailableError):  # the kill
            while (found := outcome(client, "killed")) == "released":
                answered.append(found)

    for number in range(kills + 1):
        with drill._process() as (cas, process):
            wait_until_up(cas, process)
            cas.owner().create(to_yaml(limited("killed", limit)))
            enclaves = [threading.Thread(target=fetch_all, args=(cas,)) for _ in range(hands)]
            for enclave in enclaves:
                enclave.start()
            if number < kills:
                time.sleep(chance.uniform(0.05, 0.2))
                process.kill()
            for enclave in enclaves:
                enclave.join(PATIENCE_S)
    engine = open_database(next((house.folder / "cas").glob("*.db")))
    records = [entry.values for entry in read_entries(engine)]
    engine.dispose()
    assert sum(record["event"] == "release" and record["outcome"] == "released" for record in records) == limit
    assert limit - kills * hands <= len(answered) <= limit


@pytest.mark.parametrize("event", ["released", "cas.release.activations"])
def test_both_outcomes_are_on_record(house: House, event: str) -> None:
    with house.open() as cas:
        cas.owner().create(to_yaml(limited("record", 1)))
        client = cas.enclave(cas.world.platform(APP_ENCLAVE))
        outcomes(2, lambda: outcome(client, "record"))
    engine = open_database(next(cas.database.glob("*.db")))
    records = [entry.record for entry in read_entries(engine)]
    engine.dispose()
    assert sum(f'"{event}"' in record and '"release"' in record for record in records) == 1
