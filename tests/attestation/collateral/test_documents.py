from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.platform.world import World

from adyton.attestation.chain import MAX_CHAIN_BYTES, MAX_CRL_BYTES
from adyton.attestation.collateral.documents import MAX_COLLATERAL_BYTES, MAX_DOCUMENT_BYTES, Collateral, PlatformId
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.errors import AttestationError
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import InputError


def test_the_json_form_round_trips(world: World) -> None:
    collateral = world.collateral()
    assert Collateral.from_json(collateral.to_json()) == collateral


def test_the_json_form_is_that_of_the_evidence(evidence: Path, real_collateral: Collateral) -> None:
    assert json.loads(real_collateral.to_json()) == json.loads((evidence / "sgx_quote_collateral.json").read_bytes())


@pytest.mark.parametrize(
    "change",
    [
        {"extra": "x"},
        {"pck_crl": "zz"},
        {"pck_crl": "abc"},
        {"pck_crl": ""},
        {"tcb_info_signature": "00" * 63},
        {"tcb_info": 1},
        {"tcb_info": None},
        {"root_ca_crl": "00" * ((4 << 20) + 1)},
    ],
    ids=["unknown member", "no hex", "odd hex", "empty", "short signature", "number", "null", "over the limit"],
)
def test_other_json_is_refused(world: World, change: dict[str, Any]) -> None:
    document = json.loads(world.collateral().to_json()) | change
    with pytest.raises(AttestationError) as caught:
        Collateral.from_json(json.dumps(document))
    assert caught.value.code == "attestation.collateral.format"


@pytest.mark.parametrize("missing", sorted(Collateral.__dataclass_fields__))
def test_every_member_is_required(world: World, missing: str) -> None:
    document = json.loads(world.collateral().to_json())
    del document[missing]
    with pytest.raises(AttestationError):
        Collateral.from_json(json.dumps(document))


def test_the_window_is_the_narrowest_of_the_parts(real_collateral: Collateral) -> None:
    start, end = real_collateral.window()
    assert (start.isoformat(), end.isoformat()) == ("2025-06-19T10:56:11+00:00", "2025-07-19T10:01:18+00:00")


def test_a_pck_chain_that_other_tools_add_is_passed_over(world: World) -> None:
    document = json.loads(world.collateral().to_json())
    for value in (None, "-----BEGIN CERTIFICATE-----"):
        text = json.dumps(document | {"pck_certificate_chain": value})
        assert Collateral.from_json(text) == world.collateral()
    with pytest.raises(AttestationError):
        Collateral.from_json(json.dumps(document | {"pck_certificate_chain": 1}))


@pytest.mark.parametrize("kind", [EvidenceKind.SGX, EvidenceKind.TDX])
def test_collateral_knows_what_it_is_for(world: World, kind: EvidenceKind) -> None:
    platform = world.collateral(kind).platform
    assert platform == PlatformId(world.vendor.fmspc, CaKind.PLATFORM, kind)
    assert str(platform) == f"{kind.value}-{world.vendor.fmspc}-platform"


def test_the_real_samples_know_what_they_are_for(evidence: Path, real_collateral: Collateral) -> None:
    tdx = Collateral.from_json((evidence / "tdx_quote_collateral.json").read_bytes())
    assert str(real_collateral.platform) == "sgx-00a067110000-processor"
    assert str(tdx.platform) == "tdx-b0c06f000000-platform"


@pytest.mark.parametrize("fmspc", ["", "../../../x", "00a06711000", "00a06711000g", "00A067110000", "00a067110000\n"])
def test_only_an_fmspc_names_a_platform(fmspc: str) -> None:
    with pytest.raises(InputError) as caught:
        PlatformId(fmspc, CaKind.PLATFORM)
    assert caught.value.code == "attestation.collateral.fmspc"


@pytest.mark.parametrize("kind", [EvidenceKind.SNP, EvidenceKind.NITRO])
def test_other_technologies_have_no_such_collateral(kind: EvidenceKind) -> None:
    with pytest.raises(InputError) as caught:
        PlatformId("00a067110000", CaKind.PLATFORM, kind)
    assert caught.value.code == "attestation.collateral.kind"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tcb_info", " " * (MAX_DOCUMENT_BYTES + 1)),
        ("qe_identity", " " * (MAX_DOCUMENT_BYTES + 1)),
        ("pck_crl", "00" * (MAX_CRL_BYTES + 1)),
        ("root_ca_crl", "00" * (MAX_CRL_BYTES + 1)),
        ("tcb_info_issuer_chain", " " * (MAX_CHAIN_BYTES + 1)),
    ],
)
def test_a_part_over_its_limit_is_refused(world: World, name: str, value: str) -> None:
    with pytest.raises(AttestationError, match=name) as caught:
        Collateral.from_json(json.dumps(world.collateral().to_document() | {name: value}))
    assert caught.value.code == "attestation.collateral.format"


def test_collateral_over_its_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(AttestationError, match="over the limit"):
        Collateral.from_json(b" " * (MAX_COLLATERAL_BYTES + 1))
