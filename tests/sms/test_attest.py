"""Proving the SMS: an honest one is recognized, and no other is, whatever it shows; refused ones were sent nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Response
from tests.platform.world import World, mrsigner_of, signer
from tests.sms.attested import OTHER, SMS, WORLD, Pretender, prover, sms_over_tls
from tests.sms.support import REQUESTER, bought_task, make_settings
from tests.web.serving import listening

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.formats.report_data import SMS_SERVER
from adyton.attestation.policy import QuotePolicy
from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.platform.simulated.pki import SimulatedVendor
from adyton.sms.attest import CHANNEL_CHECK, SmsIdentityError, appraise, ask, attest_sms
from adyton.sms.client import SmsClient
from adyton.sms.http.api import build_app
from adyton.web.peercert import tls_protocol

CANARY = "canary-that-goes-to-the-attested-only"
POLICY = WORLD.policy(SMS)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with sms_over_tls(tmp_path_factory.mktemp("honest")) as url:
        yield url


def push_to(url: str, policy: QuotePolicy = POLICY) -> None:
    """What a client does: attest, then push over what was attested."""
    attested = attest_sms(url, policy)
    client = SmsClient(attested.url, tls=attested.context())
    try:
        client.push_requester("login", Secret(CANARY), REQUESTER)
    finally:
        client.close()


def test_an_honest_one_is_recognized_and_takes_a_secret(tmp_path: Path) -> None:
    with sms_over_tls(tmp_path) as url:
        attested = attest_sms(url, POLICY)
        assert attested.evidence.mrenclave == SMS
        assert attested.evidence.tier == WORLD.anchor.tier
        push_to(url)
        client = SmsClient(url, tls=attested.context())
        assert client.check_requester(REQUESTER.address, "login")
        client.close()


def test_by_signer_product_and_version(honest: str) -> None:
    signed: dict[str, Any] = {"anchors": (WORLD.anchor,), "mrsigners": frozenset({mrsigner_of()}), "isvprodid": 0}
    assert attest_sms(honest, QuotePolicy(**signed)).evidence.mrenclave == SMS
    with pytest.raises(AttestationError) as caught:
        attest_sms(honest, QuotePolicy(**signed, min_isvsvn=3))
    assert caught.value.code == "attestation.svn"


def test_it_shows_its_evidence_in_the_handshake_too(honest: str) -> None:
    proof = ask(honest)
    assert proof.one_key
    assert proof.peer != proof.certificate  # that one was made before, for everybody; this one for the nonce
    verdict = appraise(proof, POLICY, datetime.now(UTC))
    assert verdict.trusted
    assert [each.outcome for each in verdict.checks if each.check in {CHANNEL_CHECK, "attestation.freshness"}] == [
        Outcome.PASSED
    ] * 2


def stale_collateral() -> str:
    return WORLD.vendor.collateral(datetime.now(UTC) - timedelta(days=400)).to_json()


INTEL = QuotePolicy(anchors=(TrustAnchor("intel"),), mrenclaves=frozenset({SMS}))
FOREIGN = World(SimulatedVendor(Secret(b"somebody else's simulated vendor"), signer("elsewhere")), now=WORLD.now)
PRETENDERS = [
    pytest.param(Pretender(), POLICY, "attestation.measurement", id="genuine evidence of another enclave"),
    pytest.param(Pretender(mrenclave=SMS, stale=True), POLICY, "attestation.freshness", id="another nonce"),
    pytest.param(Pretender(mrenclave=SMS, purpose=SMS_SERVER), POLICY, "attestation.purpose", id="another purpose"),
    pytest.param(
        Pretender(mrenclave=SMS, collateral=stale_collateral), POLICY, "attestation.validity", id="expired collateral"
    ),
    pytest.param(
        Pretender(mrenclave=SMS, collateral=lambda: "{}"), POLICY, "attestation.collateral.format", id="no collateral"
    ),
    pytest.param(Pretender(mrenclave=SMS), INTEL, "attestation.chain.anchor", id="simulated, and intel is named"),
    pytest.param(
        Pretender(FOREIGN, mrenclave=SMS), POLICY, "attestation.chain.anchor", id="simulated by somebody else"
    ),
]


@pytest.mark.parametrize(("pretender", "policy", "code"), PRETENDERS)
def test_a_pretender_is_refused_and_gets_nothing(pretender: Pretender, policy: QuotePolicy, code: str) -> None:
    with pretender.serving() as seen:
        with pytest.raises(AttestationError) as caught:
            push_to(seen.url, policy)
        assert caught.value.code == code
        assert seen.got_nothing
        assert refused_for_people(seen.url, policy) == code


def refused_for_people(url: str, policy: QuotePolicy) -> str:
    """The code of the refusal that the command line shows."""
    try:
        verdict = appraise(ask(url), policy, datetime.now(UTC))
    except AttestationError as error:
        return error.code
    assert not verdict.trusted
    return verdict.code


def test_the_refusal_names_the_measurement() -> None:
    with Pretender().serving() as seen, pytest.raises(AttestationError) as caught:
        push_to(seen.url)
    assert OTHER.hex() in caught.value.message


def test_who_relays_an_honest_proof_over_its_own_connection(honest: str) -> None:
    with Pretender(relay=honest).serving() as seen:
        with pytest.raises(SmsIdentityError) as caught:
            push_to(seen.url)
        assert caught.value.code == CHANNEL_CHECK
        assert seen.got_nothing
        verdict = appraise(ask(seen.url), POLICY, datetime.now(UTC))
        assert (verdict.trusted, verdict.code) == (False, CHANNEL_CHECK)


def test_who_steps_in_between_proof_and_push(honest: str) -> None:
    attested = attest_sms(honest, POLICY)
    with Pretender(mrenclave=SMS).serving() as seen:  # even with the same program in it
        client = SmsClient(seen.url, tls=attested.context())
        with pytest.raises(UnavailableError):
            client.push_requester("login", Secret(CANARY), REQUESTER)
        client.close()
        assert (seen.bodies, seen.paths) == ([], [])


def test_plain_http_proves_nothing(honest: str) -> None:
    with pytest.raises(SmsIdentityError, match="plain HTTP") as caught:
        ask(honest.replace("https", "http"))
    assert caught.value.code == "sms.identity.plain"


def test_one_that_does_not_prove_itself(tmp_path: Path) -> None:
    """An SMS without an enclave, behind somebody's TLS."""
    app = build_app(make_settings(tmp_path), view=bought_task())
    with (
        listening(app, http=tls_protocol(prover().context), ws="none") as port,
        pytest.raises(SmsIdentityError) as caught,
    ):
        ask(f"https://127.0.0.1:{port}")
    assert caught.value.code == "sms.identity.absent"


@pytest.mark.parametrize("answer", ["", "{}", '{"certificate": 5}', '{"certificate": "none"}', "[" * 100_000])
def test_an_answer_that_is_no_proof(answer: str) -> None:
    app = FastAPI()

    @app.get("/attestation")
    def attestation() -> Response:
        return Response(answer, media_type="application/json")

    with (
        listening(app, http=tls_protocol(prover().context), ws="none") as port,
        pytest.raises(SmsIdentityError) as caught,
    ):
        ask(f"https://127.0.0.1:{port}")
    assert caught.value.code == "sms.identity.answer"


def test_nobody_answers() -> None:
    with pytest.raises(UnavailableError):
        ask("https://127.0.0.1:9")
