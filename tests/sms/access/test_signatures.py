"""Whose signature it is, what a question to the chain costs, and what identifies a signed act."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sms.support import APP, NOW, POOL_OWNER, REQUESTER, WORKER, SettableClock, SimulatedChain

from adyton.base.errors import UnavailableError
from adyton.base.types import Address, Bytes32
from adyton.sms.access import recipes
from adyton.sms.access.signatures import MAX_SIGNATURE_BYTES, Credential, Signatures, well_formed
from adyton.sms.errors import NotAllowedError, TooManyRequestsError

CHALLENGE = recipes.web2_challenge(REQUESTER.address, "n", "v")
SAFE = Address("0x6666666666666666666666666666666666666666")
GOOD = recipes.sign(CHALLENGE, REQUESTER)


def judge(chain: SimulatedChain, per_s: float = 1, clock: SettableClock | None = None) -> Signatures:
    return Signatures(chain, per_s, clock=clock or SettableClock(NOW))


def with_safe() -> SimulatedChain:
    chain = SimulatedChain()
    chain.contracts[SAFE] = REQUESTER.address
    return chain


def test_an_account_signs_without_a_question() -> None:
    chain = SimulatedChain()
    for spelling in (GOOD, GOOD[2:], "0X" + GOOD[2:].upper()):
        mark = judge(chain).check(CHALLENGE, Credential(spelling), REQUESTER.address.lower())
        assert mark == bytes.fromhex(GOOD[2:])  # one act, however it is spelt
    assert chain.calls == 0


MALFORMED = {
    "empty": "",
    "prefix": "0x",
    "short": GOOD[:-2],
    "odd": GOOD + "0",
    "not hex": "0x" + "zz" * 65,
    "whitespace": GOOD[:20] + " " + GOOD[21:],
    "scheme": "Bearer " + GOOD,
    "zeros": "0x" + "00" * 65,
    "v 0": GOOD[:-2] + "00",
    "beyond the order": "0x" + "ff" * 64 + "1b",
    "too long": "0x" + "11" * (MAX_SIGNATURE_BYTES + 1),
    "fullwidth digits": "0x" + "\uff11" * 130,
}


@pytest.mark.parametrize("signature", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_ones_are_refused_without_a_question(signature: str) -> None:
    chain = with_safe()
    with pytest.raises(NotAllowedError):
        judge(chain).check(CHALLENGE, Credential(signature), SAFE)
    assert chain.calls == 0


@pytest.mark.parametrize("account", ["", "0x12", "me.eth", APP[2:], APP + "00"])
def test_who_is_no_address_signs_nothing(account: str) -> None:
    chain = SimulatedChain()
    with pytest.raises(NotAllowedError):
        judge(chain).check(CHALLENGE, Credential(GOOD), account)
    assert chain.calls == 0


def test_a_contract_account() -> None:
    chain = with_safe()
    signatures = judge(chain, per_s=100)
    short = signatures.check(CHALLENGE, Credential(GOOD), SAFE)
    longer = signatures.check(CHALLENGE, Credential(GOOD + "00ff"), SAFE)
    assert short == longer  # its signatures can be varied by anybody, so the act is what counts
    assert short != signatures.check(
        recipes.web2_challenge(REQUESTER.address, "n", "w"),
        Credential(recipes.sign(recipes.web2_challenge(REQUESTER.address, "n", "w"), REQUESTER)),
        SAFE,
    )
    with pytest.raises(NotAllowedError):
        signatures.check(CHALLENGE, Credential(recipes.sign(CHALLENGE, WORKER)), SAFE)


def test_an_address_that_is_no_contract_is_asked_about_once_a_minute() -> None:
    chain, clock = SimulatedChain(), SettableClock(NOW)
    signatures = judge(chain, per_s=100, clock=clock)
    for _ in range(5):
        with pytest.raises(NotAllowedError):
            signatures.check(CHALLENGE, Credential(GOOD), WORKER.address)
    assert chain.calls == 1
    clock.advance(61)
    with pytest.raises(NotAllowedError):
        signatures.check(CHALLENGE, Credential(GOOD), WORKER.address)
    assert chain.calls == 2


def test_questions_are_limited_by_client() -> None:
    chain, clock = with_safe(), SettableClock(NOW)
    signatures = judge(chain, per_s=1, clock=clock)

    def ask(client: str, number: int) -> None:
        signatures.check(CHALLENGE, Credential(GOOD, client), f"0x{number:040x}")

    for number in range(4):
        with pytest.raises(NotAllowedError):
            ask("one", number + 1)
    with pytest.raises(TooManyRequestsError) as caught:
        ask("one", 99)
    assert caught.value.retry_after_s == 1
    with pytest.raises(NotAllowedError):
        ask("two", 100)
    clock.advance(1)
    with pytest.raises(NotAllowedError):
        ask("one", 101)
    assert chain.calls == 6
    signatures.check(CHALLENGE, Credential(GOOD, "one"), REQUESTER.address)  # a good one is never limited


def test_a_node_that_is_down_is_no_refusal() -> None:
    chain = with_safe()
    chain.down = True
    with pytest.raises(UnavailableError):
        judge(chain).check(CHALLENGE, Credential(GOOD), SAFE)


@given(st.text(max_size=300))
def test_any_text_is_judged(text: str) -> None:
    raw = well_formed(CHALLENGE, text)
    assert raw is None or len(raw) >= 65
    assert recipes.signer_of(CHALLENGE, text) is None or raw is not None


@given(st.binary(min_size=65, max_size=65))
def test_any_65_bytes_name_one_signer_or_nobody(raw: bytes) -> None:
    text = "0x" + raw.hex()
    signer = recipes.signer_of(CHALLENGE, text)
    assert (well_formed(CHALLENGE, text) is None) == (signer is None)
    assert signer not in {REQUESTER.address, POOL_OWNER.address}
    assert recipes.signer_of(Bytes32("0x" + "12" * 32), text) != signer or signer is None
