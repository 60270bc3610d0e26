"""The name of a judgement about a signer holds every byte that decides, and nothing that differs between its quotes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from tests.attestation.test_verify import flipped
from tests.platform.world import World

from adyton.attestation.quote import Quote, parse_quote
from adyton.attestation.sgx import ReportBody
from adyton.attestation.signer import signed_size, signer_bytes
from adyton.attestation.tdx import TdReport, TdReport15

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
