"""``adyton cas`` against a running CAS: what a person sees, what a script reads, and what is never sent."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from structlog.testing import capture_logs
from tests.cas.documents import APP, iexec_document, small_document, to_yaml
from tests.cas.house import CAS, House, Running, certificate_service, new_world
from tests.cli.evidence_support import Adyton, runner

from adyton.cas.language.session import from_document, session_hash
from adyton.devnet.network import Network
from adyton.devnet.paths import NetworkPaths

SIMULATED = "runs on a simulated platform"


@pytest.fixture(scope="module")
def cas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    world = new_world()
    folder = tmp_path_factory.mktemp("cas")
    # its log lines belong to another process, not to the output of the command
    with capture_logs(), certificate_service(world) as url, House(world, url, folder).open() as running:
        yield running


@pytest.fixture
def adyton(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Adyton:
    return runner(capsys, monkeypatch, tmp_path / "home")


@pytest.fixture
def network(cas: Running, tmp_path: Path) -> Path:
    """Folder of a network whose CAS this is."""
    return network_folder(cas, tmp_path / "network", CAS.hex())


def network_folder(cas: Running, folder: Path, mrenclave: str) -> Path:
    unused = "http://127.0.0.1:9"
    Network(
        chain_id=134,
        rpc=unused,
        hub="0x" + "1" * 40,
        ens_registry="0x" + "2" * 40,
        ens_resolver="0x" + "3" * 40,
        market=unused,
        results=unused,
        sms=unused,
        sms_debug=unused,
        cas=cas.url,
        cas_enclave="127.0.0.1:9",
        platform_socket="none",
        tier=cas.world.anchor.tier,
        measurements={"cas": mrenclave},
    ).save(NetworkPaths.of(folder))
    return folder


def file_of(folder: Path, document: dict[str, Any], name: str = "session.yaml") -> Path:
    file = folder / name
    file.write_bytes(to_yaml(document))
    return file


def test_attest_the_networks_cas(cas: Running, adyton: Adyton, network: Path, tmp_path: Path) -> None:
    ran = adyton("cas", "attest", "--state", network, "--out", tmp_path / "ca.pem")
    assert ran.status == 0
    assert ran.out.startswith("TRUSTED, SIMULATED")
    for value in (cas.url, CAS.hex()):
        assert value in ran.out
    root = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    found = adyton("cas", "attest", "--state", network, "--json").json
    assert found == {
        "trusted": True,
        "address": cas.url,
        "tier": cas.world.anchor.tier,
        "mrenclave": CAS.hex(),
        "authority": _fingerprint(root),
    }


def _fingerprint(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    return certificate.fingerprint(SHA256()).hex()


def test_attest_by_url(cas: Running, adyton: Adyton) -> None:
    options = ("--anchor", cas.world.anchor.tier, "--mrenclave", "00" * 32, "--mrenclave", CAS.hex())
    assert adyton("cas", "attest", cas.url, *options).status == 0


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), "cas.client.measurement"),
        (("--mrenclave", CAS.hex()), "attestation.chain.anchor"),
        (("--mrenclave", "11" * 32, "--anchor", "OUR"), "attestation.measurement"),
        (("--mrenclave", "11", "--anchor", "OUR"), "attestation.policy.measurement"),
        (("--mrenclave", "x", "--anchor", "OUR"), "cas.client.measurement"),
        (("--mrenclave", CAS.hex(), "--anchor", "sim:x"), "attestation.anchor.name"),
        (("--mrenclave", CAS.hex(), "--anchor", "OUR", "--tolerate", "all"), "attestation.policy.tolerate"),
    ],
    ids=["no measurement", "other root", "other build", "short", "not hex", "no anchor", "no weakness"],
)
def test_attest_refuses(
    cas: Running, adyton: Adyton, tmp_path: Path, *, options: tuple[str, ...], code: str, as_json: bool
) -> None:
    words = [cas.world.anchor.tier if word == "OUR" else word for word in options]
    out = tmp_path / "ca.pem"
    ran = adyton("cas", "attest", cas.url, *words, "--out", out, *(["--json"] if as_json else []))
    assert ran.status == 1
    assert not out.exists()
    if as_json:
        assert (ran.json["trusted"], ran.json["code"]) == (False, code)
    else:
        assert f"({code})" in ran.err
        assert ran.out == ""


def test_no_network_no_url(adyton: Adyton, tmp_path: Path) -> None:
    ran = adyton("cas", "attest", "--state", tmp_path / "none")
    assert ran.status == 1
    assert "(devnet.network.none)" in ran.err


def test_nobody_answers(cas: Running, adyton: Adyton) -> None:
    ran = adyton("cas", "attest", "https://127.0.0.1:9", "--mrenclave", CAS.hex(), "--anchor", cas.world.anchor.tier)
    assert ran.status == 1
    assert "(cas.unreachable)" in ran.err


def test_a_session_from_check_to_update(adyton: Adyton, network: Path, tmp_path: Path) -> None:
    document = small_document(name="life", secrets=[{"name": "s", "kind": "ascii", "value": "value-canary"}])
    file, at = file_of(tmp_path, document), ("--state", network)
    assert adyton("cas", "session", "check", file).out == "name: life\nservices: 1\nsecrets: 1\n"
    created = adyton("cas", "session", "create", file, *at)
    assert created.status == 0, created.err
    assert SIMULATED in created.err
    first = yaml.safe_load(created.out)
    assert stat.S_IMODE((network / "owner" / "cas-client.key").stat().st_mode) == 0o600
    assert adyton("cas", "session", "create", file, *at, "--json").json == first  # the same again changes nothing

    shown = adyton("cas", "session", "show", "life", *at)
    assert f"# hash: {first['hash']}" in shown.out
    assert "value-canary" not in shown.out
    assert yaml.safe_load(shown.out)["services"][0]["mrenclaves"] == [APP]
    salt = adyton("cas", "session", "show", "life", *at, "--json").json["salt"]
    assert session_hash(from_document(document), bytes.fromhex(salt)) == first["hash"]

    changed = file_of(tmp_path, document | {"version": "0.3.1"}, "changed.yaml")
    assert "(cas.session.exists)" in adyton("cas", "session", "create", changed, *at).err
    assert "(cas.client.predecessor)" in adyton("cas", "session", "update", changed, *at).err
    updated = adyton("cas", "session", "update", changed, "--predecessor", first["hash"], *at, "--json").json
    assert (updated["name"], updated["version"]) == ("life", 2)
    again = adyton("cas", "session", "update", changed, "--predecessor", first["hash"], *at, "--json")
    assert again.json == updated
    shown_again = tmp_path / "shown.yaml"
    shown_again.write_text(
        adyton("cas", "session", "show", "life", *at).out.replace("version: 0.3.1", "version: 0.3.2")
    )
    third = ("--predecessor", updated["hash"], *at, "--json")
    updated = adyton("cas", "session", "update", shown_again, *third).json
    assert updated["version"] == 3
    stale = file_of(tmp_path, document | {"version": "0.3.2", "predecessor": first["hash"]}, "stale.yaml")
    assert "(cas.session.predecessor)" in adyton("cas", "session", "update", stale, *at).err

    listed = adyton("cas", "session", "list", *at)
    assert listed.out == f"life  {updated['hash']}  no end\n"
    other = adyton("cas", "session", "list", *at, "--identity", tmp_path / "other")
    assert other.out == "no sessions\n"
    assert (
        "(cas.session.unknown)" in adyton("cas", "session", "show", "life", *at, "--identity", tmp_path / "other").err
    )


def test_a_document_from_standard_input(adyton: Adyton, network: Path) -> None:
    ran = adyton("cas", "session", "create", "-", "--state", network, stdin=json.dumps(small_document()).encode())
    assert ran.status == 0


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (small_document(services=[{"name": "a", "mrenclaves": []}]), "services[0].mrenclaves"),
        (small_document(servises=[]), "servises"),
        (iexec_document() | {"secrets": [{"name": "a", "kind": "x509", "issuer": "b"}]}, "secrets[0].issuer"),
        (
            small_document(services=[{"name": "a", "mrenclaves": [APP], "command": "$$SCONE::x$$"}]),
            "services[0].command",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["check", "create", "update"])
def test_a_wrong_document_is_refused_by_path_without_a_cas(
    adyton: Adyton, tmp_path: Path, document: dict[str, Any], words: str, verb: str
) -> None:
    ran = adyton("cas", "session", verb, file_of(tmp_path, document))
    assert (ran.status, ran.out) == (1, "")
    assert words in ran.err.replace("\n", "")
    assert "(cas.session.invalid)" in ran.err


def test_create_is_no_update(adyton: Adyton, tmp_path: Path) -> None:
    ran = adyton("cas", "session", "create", file_of(tmp_path, small_document(predecessor="0" * 64)))
    assert "(cas.client.predecessor)" in ran.err


def test_nothing_is_sent_to_a_cas_that_is_not_the_expected_one(cas: Running, adyton: Adyton, tmp_path: Path) -> None:
    network = network_folder(cas, tmp_path / "other", "11" * 32)
    file = file_of(tmp_path, small_document(name="never-sent"))
    for words in (("create", file), ("show", "never-sent"), ("list",)):
        ran = adyton("cas", "session", *words, "--state", network)
        assert "(attestation.measurement)" in ran.err
    assert not (network / "owner" / "cas-client.key").exists()
    assert "never-sent" not in [info.name for info in cas.owner().list()]


def test_files_that_cannot_be_read(adyton: Adyton, tmp_path: Path) -> None:
    assert "(input.file)" in adyton("cas", "session", "check", tmp_path / "none").err
    (tmp_path / "big").write_bytes(b" " * ((1 << 20) + 1))
    assert "(cas.session.yaml)" in adyton("cas", "session", "check", tmp_path / "big").err
    assert adyton("cas", "session", "check").status == 2


# successors


def _identities(adyton: Adyton, folder: Path, *who: str) -> dict[str, str]:
    """Key hashes as the command prints them; the folders are made by it."""
    return {name: adyton("cas", "identity", "--identity", folder / name).out.strip() for name in who}


def _line_session(name: str, approvers: list[str]) -> dict[str, Any]:
    return small_document(
        name=name,
        secrets=[{"name": "key", "kind": "enclave-key"}],
        upgrade={"approvers": approvers, "threshold": 2},
    )


def test_approvers_approve_show_and_revoke(adyton: Adyton, network: Path, tmp_path: Path) -> None:
    hashes = _identities(adyton, tmp_path, "ann", "bob")
    assert _identities(adyton, tmp_path, "ann", "bob") == hashes
    document = _line_session("cli-line", list(hashes.values()))
    assert adyton("cas", "session", "create", file_of(tmp_path, document), "--state", network).status == 0
    words = ("cas", "session", "upgrade", "cli-line", "--state", network)
    approve = (*words, "--successor", "0a" * 32, "--carry")
    first = adyton(*approve, "--identity", tmp_path / "ann")
    assert first.status == 0
    assert f"approved by {hashes['ann']}: carry to {'0a' * 32}" in first.out
    assert "no successor has the 2 approvals that it needs" in first.out
    second = adyton(*approve, "--identity", tmp_path / "bob", "--json").json
    assert second["allowed"] == {"successor": "0a" * 32, "choice": "carry"}
    shown = adyton("cas", "session", "show", "cli-line", "--state", network, "--identity", tmp_path / "bob")
    assert f"# takes effect at its first start: carry to {'0a' * 32}" in shown.out
    assert f"# current enclave: {APP}" in shown.out
    assert yaml.safe_load(shown.out)["upgrade"]["threshold"] == 2
    revoked = adyton(*words, "--revoke", "--identity", tmp_path / "ann")
    assert revoked.status == 0
    assert hashes["ann"] not in revoked.out
    found = adyton("cas", "session", "show", "cli-line", "--state", network, "--json").json["line"]
    assert (found["current"], found["allowed"], len(found["approvals"])) == (APP, None, 1)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param([], "cas.client.upgrade", id="nothing"),
        pytest.param(["--successor", "0a" * 32], "cas.client.upgrade", id="no choice"),
        pytest.param(["--successor", "0a" * 32, "--carry", "--discard"], "cas.client.upgrade", id="both choices"),
        pytest.param(["--carry"], "cas.client.upgrade", id="no successor"),
        pytest.param(["--revoke", "--carry"], "cas.client.upgrade", id="revoke and choose"),
        pytest.param(["--successor", "0a", "--carry"], "cas.request.invalid", id="no measurement"),
        pytest.param(["--successor", APP, "--carry"], "cas.upgrade.successor", id="itself"),
        pytest.param(["--successor", "0a" * 32, "--carry", "--from", "0b" * 32], "cas.upgrade.predecessor", id="from"),
        pytest.param(["--revoke"], "cas.upgrade.no_approval", id="nothing to revoke"),
    ],
)
def test_wrong_approvals_say_what_is_wrong(
    adyton: Adyton, network: Path, tmp_path: Path, words: list[str], code: str
) -> None:
    hashes = _identities(adyton, tmp_path, "ann", "bob")
    name = f"cli-wrong-{abs(hash(tuple(words)))}"
    document = _line_session(name, list(hashes.values()))
    adyton("cas", "session", "create", file_of(tmp_path, document), "--state", network)
    ran = adyton("cas", "session", "upgrade", name, *words, "--state", network, "--identity", tmp_path / "ann")
    assert ran.status == 1
    assert f"({code})" in ran.err


def test_a_session_without_approvers_takes_no_approval(adyton: Adyton, network: Path, tmp_path: Path) -> None:
    file = file_of(tmp_path, small_document(name="cli-closed"))
    adyton("cas", "session", "create", file, "--state", network)
    words = ("cas", "session", "upgrade", "cli-closed", "--successor", "0a" * 32, "--carry", "--state", network)
    assert "(cas.upgrade.none)" in adyton(*words).err
    assert "# current enclave" not in adyton("cas", "session", "show", "cli-closed", "--state", network).out


def test_a_network_without_approvers_builds_no_successor(adyton: Adyton, network: Path) -> None:
    assert "(devnet.upgrade.none)" in adyton("cas", "upgrade-sms", "--state", network).err
