"""The name of a judgement about a signer holds every byte that decides, and nothing that differs between its quotes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from tests.attestation.dcap.test_verify import flipped
from tests.platform.world import World

from adyton.attestation.dcap.assessment import verify_quote
from adyton.attestation.dcap.signer import program_bytes, signed_size, signer_bytes
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.formats.quote import Quote, parse_quote
from adyton.attestation.formats.sgx import ReportBody
from adyton.attestation.formats.tdx import TdReport, TdReport15
from adyton.platform.simulated.derive import sign_raw

M1 = b"\1" * 32
FORMS: dict[str, Callable[[World, bytes], bytes]] = {
    "SGX 3": lambda world, data: world.enclave_quote(M1, data),
    "SGX 4": lambda world, data: world.enclave_quote(M1, data, version=4),
    "SGX 5": lambda world, data: world.enclave_quote(M1, data, version=5),
    "TD 1.0 in 4": lambda world, data: world.td_quote(data),
    "TD 1.0 in 5": lambda world, data: world.td_quote(data, version=5),
    "TD 1.5 in 5": lambda world, data: world.td_quote(data, version=5, body=TdReport15),
}
form = pytest.mark.parametrize("make", FORMS.values(), ids=list(FORMS))


def name(quote: Quote) -> bytes:
    return signer_bytes(quote, quote.to_bytes())


@form
def test_the_signed_part_is_what_the_quote_says_it_is(world: World, make: Callable[[World, bytes], bytes]) -> None:
    data = make(world, bytes(64))
    quote = parse_quote(data)
    assert data[: signed_size(quote)] == quote.signed_bytes


@form
def test_all_quotes_of_one_platform_have_one_signer(world: World, make: Callable[[World, bytes], bytes]) -> None:
    first, second = (parse_quote(make(world, bytes([number]) * 64)) for number in (1, 2))
    assert first.signature != second.signature
    assert name(first) == name(second)


def changed(quote: Quote) -> dict[str, Quote]:
    """The quote with each field changed that the judgement of its signer looks at."""
    cases: dict[str, Any] = {
        part: replace(quote, **{part: flipped(getattr(quote, part))})
        for part in ("attestation_key", "qe_report_signature", "auth")
    }
    cases["longer auth"] = replace(quote, auth=quote.auth + b"\0")
    for field in fields(ReportBody):
        report = replace(quote.qe_report, **{field.name: flipped(getattr(quote.qe_report, field.name))})
        cases[f"QE {field.name}"] = replace(quote, qe_report=report)
    if isinstance(quote.body, TdReport):
        later = ("tee_tcb_svn2",) if isinstance(quote.body, TdReport15) else ()
        for part in ("tee_tcb_svn", "mrseam", "mrsignerseam", "seam_attributes", *later):
            cases[part] = replace(quote, body=replace(quote.td, **{part: flipped(getattr(quote.td, part))}))
    return cases


@form
def test_every_byte_that_decides_is_in_the_name(world: World, make: Callable[[World, bytes], bytes]) -> None:
    quote = parse_quote(make(world, bytes(64)))
    names = {what: name(case) for what, case in changed(quote).items()}
    assert name(quote) not in names.values()
    assert len(set(names.values())) == len(names)


def test_no_two_forms_share_a_name(world: World) -> None:
    names = [name(parse_quote(make(world, bytes(64)))) for make in FORMS.values()]
    assert len(set(names)) == len(names)


@form
def test_a_programs_name_holds_all_that_is_signed_but_the_report_data(
    world: World, make: Callable[[World, bytes], bytes]
) -> None:
    first, second = make(world, bytes(64)), make(world, b"\7" * 64)
    quote = parse_quote(first)
    assert program_bytes(quote, first) == program_bytes(parse_quote(second), second)
    assert len(program_bytes(quote, first)) == len(quote.signed_bytes) - 64
    for part in fields(quote.body):
        if part.name != "report_data":
            body = replace(quote.body, **{part.name: flipped(getattr(quote.body, part.name))})
            other = replace(quote, body=body)
            assert program_bytes(other, other.to_bytes()) != program_bytes(quote, first), part.name
    header = replace(quote, header=replace(quote.header, user_data=b"\1" * 20))
    assert program_bytes(header, header.to_bytes()) != program_bytes(quote, first)


def key_and_auth(quote: Quote) -> bytes:
    return hashlib.sha256(quote.attestation_key + quote.auth).digest()


@pytest.mark.parametrize(
    "data",
    [
        lambda quote: key_and_auth(quote) + bytes(31) + b"\1",
        lambda quote: key_and_auth(quote) * 2,
        lambda quote: bytes(32) + key_and_auth(quote),
        lambda quote: hashlib.sha256(quote.attestation_key).digest() + bytes(32),
        lambda quote: hashlib.sha256(quote.auth + quote.attestation_key).digest() + bytes(32),
        lambda _quote: bytes(64),
    ],
    ids=["a last byte", "twice", "in the other half", "of the key alone", "in the other order", "nothing"],
)
def test_a_qe_report_of_the_platform_that_binds_another_way_is_refused(
    world: World, data: Callable[[Quote], bytes]
) -> None:
    """A genuine platform signs reports of any enclave; only the whole of the report data says whose key it is."""
    good = parse_quote(FORMS["SGX 3"](world, bytes(64)))
    report = replace(good.qe_report, report_data=data(good))
    forged = replace(
        good, qe_report=report, qe_report_signature=sign_raw(world.qe._pck_key, report.to_bytes())
    ).to_bytes()
    with pytest.raises(AttestationError) as caught:
        verify_quote(forged, world.collateral(), world.policy(M1), world.now)
    assert [f.check for f in caught.value.findings if f.outcome is Outcome.FAILED] == ["attestation.qe.binding"]
