"""Pushing secrets to attested SMS, and ``adyton sms attest``: honest ones get them, all others are sent nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Iexec, Ran, write_wallet
from tests.cli.evidence_support import Adyton, runner
from tests.sms.attested import OTHER, SMS, WORLD, Pretender, sms_over_tls
from tests.sms.support import APP, APP_OWNER, DATASET, DATASET_OWNER, REQUESTER
from tests.web.serving import serving

from adyton.base.secret import Secret
from adyton.chain.wallet import Wallet
from adyton.cli.iexec.pushing import KEEP_A_COPY
from adyton.devnet.network import Network
from adyton.devnet.paths import NetworkPaths

TIER = WORLD.anchor.tier
CANARY = "canary-4bd1"
NAMED = f"mrenclave={SMS.hex()}&anchor={TIER}"


def chain_json(folder: Path, sms: str) -> None:
    chain = {"host": "http://127.0.0.1:9", "sms": {"scone": sms}}
    (folder / "chain.json").write_text(json.dumps({"default": "bellecour", "chains": {"bellecour": chain}}))


def push(iexec: Iexec, folder: Path, verb: str, *more: str) -> Ran:
    """One of the five verbs that put a secret into the SMS, by the one who may."""
    owners: dict[str, Wallet] = {"app": APP_OWNER, "dataset": DATASET_OWNER}
    write_wallet(folder, owners.get(verb, REQUESTER))
    (folder / "key").write_text(CANARY)
    lines = {
        "app": f"app push-secret {APP} --tee-framework scone --secret-value {CANARY}",
        "dataset": f"dataset push-secret {DATASET} --secret-path key",
        "requester": f"requester push-secret login --secret-value {CANARY}",
        "result": "result push-encryption-key --secret-path key",
        "storage": f"storage init ipfs --token {CANARY} --force-update",
    }
    return iexec(lines[verb], *more)


VERBS = ("app", "dataset", "requester", "result", "storage")


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with sms_over_tls(tmp_path_factory.mktemp("honest")) as url:
        yield url


@pytest.fixture
def adyton(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Adyton:
    return runner(capsys, monkeypatch, tmp_path / "home")


@pytest.mark.parametrize("verb", VERBS)
def test_what_the_chain_names_gets_the_secret(iexec: Iexec, project: Path, honest: str, verb: str) -> None:
    chain_json(project, f"{honest}#{NAMED}")
    ran = push(iexec, project, verb)
    assert ran.status == 0, ran
    assert f"SMS attested: {honest} is MRENCLAVE {SMS.hex()} under {TIER} (SIMULATED" in ran.err
    assert (KEEP_A_COPY in ran.err) == (verb in {"app", "dataset", "requester"})


@pytest.mark.parametrize("verb", VERBS)
def test_another_enclave_gets_nothing(iexec: Iexec, project: Path, verb: str) -> None:
    with Pretender().serving() as seen:
        chain_json(project, f"{seen.url}#{NAMED}")
        ran = push(iexec, project, verb)
        assert seen.got_nothing
    assert ran.status == 1
    for part in (OTHER.hex(), SMS.hex(), "attestation.measurement", "hint: "):
        assert part in ran.err
    assert CANARY not in ran.err


@pytest.mark.parametrize(
    ("pretender", "named", "code"),
    [
        (Pretender(mrenclave=SMS, stale=True), NAMED, "attestation.freshness"),
        (Pretender(mrenclave=SMS), f"mrenclave={SMS.hex()}", "attestation.chain.anchor"),
        (Pretender(mrenclave=SMS, purpose="cas-attestation"), NAMED, "attestation.purpose"),
    ],
    ids=["another nonce", "simulated, not named as such", "another purpose"],
)
def test_others_get_nothing(iexec: Iexec, project: Path, pretender: Pretender, named: str, code: str) -> None:
    with pretender.serving() as seen:
        chain_json(project, f"{seen.url}#{named}")
        name, message = push(iexec, project, "requester", "--raw").error
        assert seen.got_nothing
    assert (name, code in message) == ("Error", True)


def test_who_relays_gets_nothing(iexec: Iexec, project: Path, honest: str) -> None:
    with Pretender(relay=honest).serving() as seen:
        chain_json(project, f"{seen.url}#{NAMED}")
        _, message = push(iexec, project, "requester", "--raw").error
        assert seen.got_nothing
    assert "sms.identity.key" in message


def test_the_plain_url_of_the_official_client_gets_nothing_either(iexec: Iexec, project: Path, honest: str) -> None:
    bodies: list[bytes] = []

    async def plain(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI
        if scope["type"] == "http":
            bodies.append((await receive())["body"])
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body"})

    with serving(plain, lifespan="off") as url, Pretender().serving() as seen:
        chain_json(project, f"{url}#tls={seen.url}&{NAMED}")
        assert push(iexec, project, "requester").status == 1
        assert seen.got_nothing
        chain_json(project, f"{url}#tls={honest}&{NAMED}")
        (project / "key").write_text("public")
        assert iexec("result push-encryption-key --secret-path key --force-update").status == 0
    assert not any(bodies)


def test_what_cannot_be_understood_stops_it(iexec: Iexec, project: Path, honest: str) -> None:
    chain_json(project, f"{honest}#mrenclave={SMS.hex()}&ancor={TIER}")
    name, message = push(iexec, project, "requester", "--raw").error
    assert (name, "unknown members: ancor" in message) == ("ConfigurationError", True)


def test_raw_output_is_the_official_one(iexec: Iexec, project: Path, honest: str) -> None:
    chain_json(project, f"{honest}#{NAMED}")
    write_wallet(project, Wallet(Secret(b"\x77" * 32)))
    ran = iexec("requester push-secret raw --secret-value v --raw")
    assert (ran.status, json.loads(ran.out), ran.err) == (0, {"ok": True, "isPushed": True, "name": "raw"}, "")


def test_a_plain_address_elsewhere_is_warned_about(iexec: Iexec, project: Path) -> None:
    chain_json(project, "http://sms.invalid:1")
    write_wallet(project, REQUESTER)
    ran = iexec("requester push-secret login --secret-value v")
    assert ran.status == 1  # there is no such host
    assert "warning: the secret goes to http://sms.invalid:1 over plain HTTP" in ran.err


# adyton sms attest


def network_folder(folder: Path, sms: str, mrenclave: str = SMS.hex()) -> Path:
    unused = "http://127.0.0.1:9"
    Network(
        chain_id=134, rpc=unused, hub="0x" + "1" * 40, ens_registry="0x" + "2" * 40, ens_resolver="0x" + "3" * 40,
        market=unused, results=unused, sms=unused, sms_debug=unused, cas=unused, cas_enclave="127.0.0.1:9",
        platform_socket="none", tier=TIER, sms_tls=sms, sms_debug_tls="" if not sms else sms + "/",
        measurements={"cas": "00" * 32, "sms-production": mrenclave, "sms-debug": mrenclave},
    ).save(NetworkPaths.of(folder))  # fmt: skip
    return folder


def test_attest_the_networks_own(adyton: Adyton, honest: str, tmp_path: Path) -> None:
    network = network_folder(tmp_path / "network", honest)
    ran = adyton("sms", "attest", "--state", network)
    assert ran.status == 0
    assert ran.out.count(f"SMS at {honest}") == 2
    assert ran.out.count("TRUSTED AS SIMULATED ONLY") == 2
    for row in ("ok        sms.identity.key", "ok        attestation.freshness", "ok        attestation.measurement"):
        assert ran.out.count(row) == 2
    found = adyton("sms", "attest", honest, "--state", network, "--raw").json
    assert (found["trusted"], len(found["sms"]), found["sms"][0]["tier"]) == (True, 1, TIER)
    assert found["sms"][0]["simulated"]


def test_attest_says_what_was_named_and_what_was_found(adyton: Adyton, honest: str, tmp_path: Path) -> None:
    ran = adyton("sms", "attest", "--state", network_folder(tmp_path / "network", honest, OTHER.hex()))
    assert ran.status == 1
    assert ran.out.count("NOT TRUSTED") == 2
    flat = " ".join(ran.out.split())
    assert f"The enclave that you named: MRENCLAVE {OTHER.hex()}" in flat
    assert SMS.hex() in flat


def test_attest_names_who_relays(adyton: Adyton, honest: str) -> None:
    with Pretender(relay=honest).serving() as seen:
        ran = adyton("sms", "attest", seen.url, "--mrenclave", SMS.hex(), "--anchor", TIER)
    assert ran.status == 1
    assert "FAILED    sms.identity.key" in ran.out
    assert "ok        attestation.measurement" in ran.out  # the proof itself is honest


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), "sms.client.measurement"),
        (("--mrsigner", "11" * 32), "sms.client.measurement"),
        (("--mrenclave", "11"), "sms.client.measurement"),
        (("--mrenclave", SMS.hex(), "--anchor", "sim:x"), "attestation.anchor.name"),
        (("--mrenclave", SMS.hex(), "--tolerate", "much"), "attestation.policy.tolerate"),
    ],
)
def test_attest_wants_to_know_who_is_meant(
    adyton: Adyton, honest: str, options: tuple[str, ...], code: str, as_json: bool
) -> None:
    ran = adyton("sms", "attest", honest, *options, *(["--json"] if as_json else []))
    assert ran.status == 1
    assert code in (ran.json["code"] if as_json else ran.err)


def test_attest_an_address_that_proves_nothing(adyton: Adyton, honest: str) -> None:
    plain = adyton("sms", "attest", honest.replace("https", "http"))
    assert (plain.status, "plain HTTP" in plain.err, "sms.identity.plain" in plain.err) == (1, True, True)
    closed = adyton("sms", "attest", "https://127.0.0.1:9", "--mrenclave", SMS.hex(), "--json")
    assert (closed.status, closed.json["trusted"]) == (1, False)


def test_attest_a_network_of_an_older_version(adyton: Adyton, tmp_path: Path) -> None:
    ran = adyton("sms", "attest", "--state", network_folder(tmp_path / "network", ""))
    assert (ran.status, "devnet.network.sms" in ran.err) == (1, True)
