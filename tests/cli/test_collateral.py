"""``adyton collateral``: from a connected host to an air-gapped one, and what must not be taken on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.cli.evidence_support import Adyton, collateral_service, runner
from tests.platform.world import NOW, World

from adyton.attestation.collateral.bundle import FORMAT, export_bundle
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.verdict import EvidenceKind
from adyton.base.clock import utc_now
from adyton.cli.adyton.fetching import store_folder

M1 = b"\x01" * 32
AT = ("--at", NOW.isoformat())


@pytest.fixture(scope="module")
def world() -> World:
    """A world of now: export judges by the clock of the machine."""
    return World(now=utc_now())


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[str]:
    with collateral_service(world) as url:
        yield url


@pytest.fixture(scope="module")
def quotes(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quotes")
    (folder / "sgx").write_text(world.platform(M1).quote(bytes(64)).hex())
    (folder / "tdx").write_bytes(world.td_quote(bytes(64)))
    return folder


@pytest.fixture
def adyton(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Adyton:
    return runner(capsys, monkeypatch, tmp_path / "home")


def test_from_a_connected_host_to_an_air_gapped_one(
    world: World, service: str, quotes: Path, adyton: Adyton, tmp_path: Path
) -> None:
    bundle, anchor = tmp_path / "bundle.json", ("--anchor", world.anchor.tier)
    both = ("--quote", quotes / "sgx", "--quote", quotes / "tdx")
    done = adyton("collateral", "export", "--out", bundle, *both, "--pccs", service, *anchor)
    assert (done.status, done.out) == (0, f"{bundle}\n")
    assert "sgx-53494d000000-platform: holds until " in done.err
    assert json.loads(bundle.read_text())["format"] == FORMAT

    done = adyton("collateral", "import", bundle, *anchor, "--json")
    assert done.status == 0
    assert [(each["platform"], each["outcome"]) for each in done.json["entries"]] == [
        ("sgx-53494d000000-platform", "taken"),
        ("tdx-53494d000000-platform", "taken"),
    ]
    assert Path(done.json["store"]) == tmp_path / "home" / ".local" / "share" / "adyton" / "collateral"
    for name in ("sgx", "tdx"):
        assert adyton("evidence", "verify", quotes / name, "--offline", *anchor).status == 0
    again = adyton("collateral", "import", bundle, *anchor)
    assert again.status == 0
    assert again.out.count(" unchanged, holds until ") == 2

    listed = adyton("collateral", "list")
    assert listed.status == 0
    assert listed.out.count(" left)\n") == 2
    entries = adyton("collateral", "list", "--json").json["entries"]
    assert {each["platform"] for each in entries} == {"sgx-53494d000000-platform", "tdx-53494d000000-platform"}
    assert all(0 < each["seconds_left"] < timedelta(days=40).total_seconds() for each in entries)


def test_export_by_fmspc_and_from_a_folder(world: World, service: str, adyton: Adyton, tmp_path: Path) -> None:
    anchor = ("--anchor", world.anchor.tier)
    for kind in ("sgx", "tdx"):
        out = tmp_path / f"{kind}.json"
        which = ("--fmspc", world.vendor.fmspc.upper(), "--ca", "platform", "--kind", kind)
        assert adyton("collateral", "export", "--out", out, *which, "--pccs", service, *anchor).status == 0
        (entry,) = json.loads(out.read_text())["entries"]
        assert (entry["kind"], entry["fmspc"], entry["ca"]) == (kind, world.vendor.fmspc, "platform")
        assert adyton("collateral", "import", out, "--store", tmp_path / "store", *anchor).status == 0
    whole = tmp_path / "whole.json"
    assert adyton("collateral", "export", "--out", whole, "--store", tmp_path / "store", *anchor).status == 0
    assert len(json.loads(whole.read_text())["entries"]) == 2


def test_import_takes_collateral_of_other_tools_and_bundles_from_a_pipe(
    world: World, adyton: Adyton, tmp_path: Path
) -> None:
    plain = tmp_path / "collateral.json"
    plain.write_text(world.collateral().to_json())
    anchor = ("--anchor", world.anchor.tier)
    assert adyton("collateral", "import", plain, "--store", tmp_path / "a", *anchor).status == 0
    piped = export_bundle([world.collateral(EvidenceKind.TDX)])
    done = adyton("collateral", "import", "-", "--store", tmp_path / "a", *anchor, stdin=piped)
    assert (done.status, done.out.startswith("tdx-53494d000000-platform      taken, holds until ")) == (0, True)


def edited(collateral: Collateral) -> Collateral:
    return replace(collateral, tcb_info=collateral.tcb_info.replace("UpToDate", "OutOfDate", 1))


def swapped(collateral: Collateral, other: Collateral) -> Collateral:
    return replace(collateral, tcb_info=other.tcb_info, tcb_info_signature=other.tcb_info_signature)


def test_what_is_not_taken(adyton: Adyton, tmp_path: Path) -> None:
    world = World()
    old, current = World(world.vendor, now=NOW - timedelta(days=12)).collateral(), world.collateral()
    store, anchor = tmp_path / "store", ("--anchor", world.anchor.tier)

    def imported(collateral: Collateral, *options: str | Path) -> tuple[int, str | None]:
        file = tmp_path / "given.json"
        file.write_bytes(export_bundle([collateral]))
        done = adyton("collateral", "import", file, "--store", store, *options, "--json")
        (entry,) = done.json["entries"]
        assert (entry["outcome"] == "refused") == (done.status == 1)
        return done.status, entry["code"]

    assert imported(current, *AT) == (1, "attestation.chain.anchor")
    assert imported(edited(current), *anchor, *AT) == (1, "attestation.tcb.signature")
    assert imported(current, *anchor, "--at", (NOW + timedelta(days=60)).isoformat()) == (1, "attestation.validity")
    assert imported(current, *anchor, "--at", (NOW - timedelta(days=60)).isoformat()) == (1, "attestation.validity")
    assert not store.exists()  # nothing of all that
    assert imported(current, *anchor, *AT) == (0, None)
    assert imported(old, *anchor, *AT) == (1, "attestation.collateral.rollback")
    told = adyton("collateral", "import", tmp_path / "given.json", "--store", store, *anchor, *AT)
    assert told.status == 1
    assert "REFUSED: " in told.out
    assert "(attestation.collateral.rollback)" in told.out
    assert Collateral.from_json(next(store.iterdir()).read_bytes()) == current


def test_one_refused_entry_does_not_stop_the_others(world: World, adyton: Adyton, tmp_path: Path) -> None:
    file = tmp_path / "bundle.json"
    file.write_bytes(export_bundle([edited(world.collateral()), world.collateral(EvidenceKind.TDX)]))
    done = adyton("collateral", "import", file, "--anchor", world.anchor.tier, "--json")
    assert done.status == 1
    assert [each["outcome"] for each in done.json["entries"]] == ["refused", "taken"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("export --out {t}/o", 1, "collateral.export.platform"),
        ("export --out {t}/o --fmspc 00a067110000", 1, "collateral.export.platform"),
        ("export --out {t}/o --ca platform", 1, "collateral.export.platform"),
        ("export --out {t}/o --fmspc 00a0 --ca platform", 1, "attestation.collateral.fmspc"),
        ("export --out {t}/o --fmspc 00a067110000 --ca platform", 1, "attestation.collateral.absent"),
        ("export --out {t}/o --fmspc 000000000000 --ca platform --pccs {s}", 1, "attestation.collateral.absent"),
        ("export --out {t}/o --fmspc 00a067110000 --ca root", 2, "--ca"),
        ("export --fmspc 00a067110000 --ca platform", 2, "--out"),
        ("export --out {t}/o --quote {t}/absent", 1, "input.file"),
        ("export --out {t}/o --quote {t}", 1, "input.file"),
        ("export --out {t}/o --quote {q}/sgx", 1, "attestation.collateral.absent"),
        ("export --out {t}/o --quote {q}/sgx --pccs {s}", 1, "attestation.chain.anchor"),
        ("export --out {t}/o --quote {q}/sgx --pccs {s} --anchor all", 1, "attestation.anchor.name"),
        ("export --out {t} --quote {q}/sgx --pccs {s} --anchor {a}", 1, "input.file"),
        ("export --out {t}/o --store {t}/empty", 1, "collateral.export.empty"),
        ("import {t}/absent", 1, "input.file"),
        ("import {t}", 1, "input.file"),
        ("import {q}/tdx", 1, "attestation.collateral.format"),
        ("import", 2, "requires an argument"),
        ("import --nothing", 2, "--nothing"),
        ("import {q}/sgx --at then", 1, "input.time"),
        ("list --store {t}/empty", 0, "holds no collateral"),
    ],
)
def test_mistakes(  # noqa: PLR0917  # fixtures
    words: str, status: int, said: str, world: World, service: str, quotes: Path, adyton: Adyton, tmp_path: Path
) -> None:
    filled = words.format(t=tmp_path, q=quotes, s=service, a=world.anchor.tier)
    done = adyton("collateral", *filled.split())
    assert done.status == status
    assert said in done.out + done.err
    assert not (tmp_path / "o").exists()


def test_where_the_store_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "ADYTON_COLLATERAL"):
        monkeypatch.delenv(name, raising=False)
    assert store_folder(None) == tmp_path / ".local" / "share" / "adyton" / "collateral"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert store_folder(None) == tmp_path / ".local" / "share" / "adyton" / "collateral"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert store_folder(None) == tmp_path / "data" / "adyton" / "collateral"
    monkeypatch.setenv("ADYTON_COLLATERAL", str(tmp_path / "named"))
    assert store_folder(None) == tmp_path / "named"
    assert store_folder(tmp_path / "chosen") == tmp_path / "chosen"


def test_real_collateral_is_taken_at_its_date(evidence: Path, adyton: Adyton) -> None:
    file = evidence / "sgx_quote_collateral.json"
    assert adyton("collateral", "import", file).status == 1  # over today
    assert adyton("collateral", "import", file, "--at", "2025-07-01").status == 0
    assert "EXPIRED" in adyton("collateral", "list").out
    done = adyton("evidence", "verify", evidence / "sgx_quote", "--at", "2025-07-01", "--json")
    assert done.json["code"] == "attestation.tcb.status"  # judged by it, and refused for the platform's own sake
