"""The login scheme: vectors, and documents that must not be signed."""

from __future__ import annotations

from typing import Any

import pytest

from adyton.base.types import parse_address
from adyton.chain.eip712 import Domain
from adyton.chain.orders import AppOrder
from adyton.chain.wallet import Wallet
from adyton.market.wire import (
    MARKET_SERVICE,
    ChallengeError,
    LoginError,
    LoginToken,
    challenge_document,
    sign_challenge,
)

VALUE = "ycY7boPtnwWuBhmvfId6gROtOFwuiInQ"
# market reference 2.2, asserted by the official tests
DIGESTS = {
    65535: "0x7ff13783ecb384e98174335a8dd1d0bcda3809f5b2cec2e007a2f4aaa40ed6b0",
    134: "0xf8c0eed1c96842969a402e6f35b621f65fa389a3beb59cd5a6a4add781231bb1",
}
SIGNATURE = (
    "0x0ae7e415bc0021fe90df0f8f1a312501bc968772ec73ab39620b300b13d2b212"
    "607d1adc4741f771568ac52fbc5c042787a2bf7df2872f4a7fac93d3a46fe2341b"
)
SIGNER = parse_address("0x7bd4783FDCAD405A28052a0d1f11236A741da593")


@pytest.mark.parametrize("chain_id", DIGESTS)
def test_challenge_vectors(chain_id: int) -> None:
    assert challenge_document(MARKET_SERVICE, chain_id, VALUE).digest == DIGESTS[chain_id]


def test_the_official_token_is_accepted() -> None:
    token = LoginToken.parse(f"{DIGESTS[65535]}_{SIGNATURE}_{SIGNER.lower()}_ignored")
    token.check(challenge_document(MARKET_SERVICE, 65535, VALUE))
    with pytest.raises(LoginError):
        token.check(challenge_document(MARKET_SERVICE, 134, VALUE))


def test_signing_and_checking_agree() -> None:
    wallet = Wallet.create()
    document = challenge_document(MARKET_SERVICE, 134, VALUE)
    for sent in (document.to_json(), {"ok": True, "data": document.to_json()}):
        token = sign_challenge(sent, wallet, 134)
        assert len(str(token)) == 242
        LoginToken.parse(str(token)).check(document)


@pytest.mark.parametrize(
    "text",
    ["", "a_b", f"{DIGESTS[134]}_{SIGNATURE}_0x{'0' * 40}", f"0x12_{SIGNATURE}_{SIGNER}", "_" * 1000],
)
def test_tokens_that_are_none(text: str) -> None:
    with pytest.raises(LoginError):
        LoginToken.parse(text)


@pytest.mark.parametrize("signature", ["0x", "0x" + "00" * 65, SIGNATURE[:-4], "zz"])
def test_signatures_that_are_none(signature: str) -> None:
    with pytest.raises(LoginError):
        LoginToken.parse(f"{DIGESTS[65535]}_{signature}_{SIGNER}").check(
            challenge_document(MARKET_SERVICE, 65535, VALUE)
        )


def order_to_sign() -> dict[str, Any]:
    domain = Domain("iExecODB", "5.0.0", 134, SIGNER)
    return AppOrder(app=SIGNER).typed_data(domain).to_json()


@pytest.mark.parametrize(
    ("document", "chain_id"),
    [
        (order_to_sign(), 134),
        (challenge_document(MARKET_SERVICE, 1, VALUE).to_json(), 134),
        ({"data": []}, 134),
        ("text", 134),
        (challenge_document(MARKET_SERVICE, 134, VALUE).to_json() | {"primaryType": "EIP712Domain"}, 134),
    ],
)
def test_a_wallet_signs_login_challenges_only(document: object, chain_id: int) -> None:
    with pytest.raises(ChallengeError):
        sign_challenge(document, Wallet.create(), chain_id)
