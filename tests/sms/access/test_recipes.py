"""The vectors of the protocol reference, section 10.1, and what counts as a signature."""

from __future__ import annotations

import pytest

from adyton.base.errors import InputError
from adyton.base.types import Bytes32, word_bytes
from adyton.chain.hashing import concat_hash, contribution_message, hash_text, task_id
from adyton.chain.wallet import Wallet
from adyton.sms.access import recipes

TASK = "0x" + "11" * 32
WORKER = "0x87ae2b87b5db23830572988fb1f51242fbc471ce"
CHALLENGE = "0x" + "ee" * 20
POOL = Wallet.from_hex("0xe2a973b083fae8043543f15313955aecee9de809a318656c1cfb22d3a6d52de1")
REQUESTER = Wallet.from_hex("0xb8e97e9e217a50dedbe3c0c4c37b85a85a10d4eb23fca6dbad55162cfbb1c450")
TEE = Wallet.from_hex("0xdd3b993ec21c71c1f6d63a5240850e0d4d8dd83ff70d29e49247958548c1d479")


def test_domain_hash() -> None:
    assert hash_text(recipes.DOMAIN) == "0x0a26923d45a019b77e856d0001681f98ab9707ec15b2b98048cc91eed00b6793"


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, "0x7ec1be13dbade2e3bfde8c2bdf68859dfff4ea620b3340c451ec56b5fa505ab1"),
        (2, "0x9ca8cbf81a285c62778678c874dae13fdc6857566b67a9a825434dd557e18a8d"),
        (3, "0x54a76d209e8167e1ffa3bde8e3e7b30068423ca9554e1d605d8ee8fd0f165562"),
    ],
)
def test_concatenate_and_hash(count: int, expected: str) -> None:
    values = (
        "0x748e091bf16048cb5103E0E10F9D5a8b7fBDd860",
        "0xd94b63fc2d3ec4b96daf84b403bbafdc8c8517e8e2addd51fec0fa4e67801be8",
        "0x9a43BB008b7A657e1936ebf5d8e28e5c5E021596",
    )
    assert concat_hash(*values[:count]) == expected


def test_requester_challenge_of_empty_values() -> None:
    expected = "0x31991eefc2731228bdd25dbc5a242722eda3869f9b06536dbd96a774e5228509"
    assert recipes.requester_challenge("", "0", "") == expected


def test_web3_challenge_of_an_odd_address() -> None:
    expected = "0x8d0b92aaf96f66f172d7615b81f257ebdece2278b7da6c60127cad45852eaaf6"
    assert recipes.web3_challenge("0x123", "ghijk") == expected


def test_requester_secret() -> None:
    assert REQUESTER.address.lower() == "0x123790ae4e14865b972ee04a5f9fd5fb153cd5e7"
    challenge = recipes.requester_challenge(REQUESTER.address, "my-secret", "value")
    assert challenge == "0x0468797eab72f209e38a31d624e733b762cafc174ce002ee0d13a1efcac22b7e"
    assert recipes.sign(challenge, REQUESTER) == (
        "0x9493478d384aa0b63bd367bd4e7eb6d40f38b7b9a570e89f2cfc9f76f139946158d8189ea941fb697b01202018a91599fe2e1a0a"
        "64b84940488fe6632f50ec121c"
    )


def test_web2_requester_and_app_challenges_have_one_structure() -> None:
    owner = REQUESTER.address
    assert recipes.web2_challenge(owner, "n", "v") == recipes.requester_challenge(owner, "n", "v")
    assert recipes.app_challenge(owner, "v") == recipes.requester_challenge(owner, "1", "v")


def test_workerpool_authorization() -> None:
    assert POOL.address.lower() == "0xc911f9345717ba7c8ec862ce002af3e058df84e4"
    challenge = recipes.authorization_challenge(WORKER, TASK, CHALLENGE)
    assert challenge == "0x92ccfe8ca6af2199a9ab4495cd93a9d4acce64bf9601587378e9e0b9eb355b92"
    assert recipes.sign(challenge, POOL) == (
        "0x93fd638120333219e548761cf98155b795683fd4b6ee2bb290b3f3bb1ecde4940ccf464cdbe904556a9fd4938889c9236fdb0d00ca"
        "5694daf47425f2a304647d1c"
    )


def test_enclave_challenge_request() -> None:
    challenge = recipes.authorization_challenge("", TASK, "")
    assert challenge == "0xb569321de72d0af89c2fb48a484de3fc9343f31600ae1f3e13d633cb48cbf816"
    assert recipes.sign(challenge, POOL) == (
        "0xbb8b51d77f3fcd52f9efb7ba88ffbd296612cccb9d8d9392335e104a53ba4f232e3cd8a8f4542f040a8de362861d785d3742dbb58c"
        "deecc5edb60a0cbd44d9d91b"
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(
            "0x5cd0e9c5180dd35e2b8285d0db4ded193a9b4be6fbfab90cbadccecab130acad",
            "0xfcc6bce5eb04284c2eb1ed14405b943574343b1abda33628fbf94a374b18dd16541c6ebf63c6943d8643ff03c7aa17f1cb17b0a8"
            "d297d0fd95fc914bdd0e85f81b",
            id="any word",
        ),
        pytest.param(
            concat_hash(TASK, WORKER),
            "0xc049adee011d3d2f9f49ebfb566af09d2e02afc70ab253e93023951b468d72a009dedcb6e79084f3608260a2d787554d814079e0"
            "85599c96b0598ef27e0b8b9e1c",
            id="enclave to worker",
        ),
        pytest.param(
            contribution_message(
                Bytes32(TASK),
                WORKER,  # type: ignore[arg-type]  # the vector's address is not checksummed
                Bytes32("0x66a045b452102c59d840ec097d59d9467e13a3f34f6494e539ffd32c1bb35f18"),
            ),
            "0xceff8fe8020f761bf337474a2c95aadb37fb64d0b76a7e310adcd02754bb706441c6380551f56cc8915ae1b4eb805060ba6888a1"
            "74ac1072f2bae534b0d281751b",
            id="computed file",
        ),
    ],
)
def test_signatures_by_an_enclave_challenge_key(message: Bytes32, expected: str) -> None:
    assert TEE.address.lower() == "0x9605a0b32a4b9bbe41043459ef4d1507600c10b1"
    assert recipes.sign(message, TEE) == expected


def test_enclave_to_worker_hash() -> None:
    assert concat_hash(TASK, WORKER) == "0xa2103d824829d02b91bb27bed19bb9d30e209469bdf3962a2284be28618f64f1"


def test_task_id() -> None:
    expected = "0x3ce992a2ff7a827e1758bb768873236a5a08de2ac7550ad6d6e12be43dde299e"
    assert task_id(Bytes32("0x" + "22" * 32), 0) == expected


@pytest.mark.parametrize("address", ["0xnothex", "hello", "0x12 34"])
def test_an_address_that_is_not_hex_is_refused(address: str) -> None:
    with pytest.raises(InputError):
        recipes.web3_challenge(address, "value")


def test_address_case_does_not_matter_and_name_case_does() -> None:
    lower, upper = WORKER, "0x" + WORKER[2:].upper()
    assert recipes.web2_challenge(lower, "Name", "v") == recipes.web2_challenge(upper, "Name", "v")
    assert recipes.web2_challenge(lower, "Name", "v") != recipes.web2_challenge(lower, "name", "v")


GOOD = recipes.sign(Bytes32(TASK), POOL)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def _high_s(signature: str) -> str:
    raw = bytes.fromhex(signature[2:])
    flipped = ORDER - int.from_bytes(raw[32:64])
    return "0x" + (raw[:32] + flipped.to_bytes(32) + bytes([55 - raw[64]])).hex()


def test_a_good_signature_names_its_signer_with_and_without_prefix() -> None:
    assert recipes.signer_of(Bytes32(TASK), GOOD) == POOL.address
    assert recipes.signer_of(Bytes32(TASK), GOOD[2:]) == POOL.address


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param("", id="empty"),
        pytest.param("0x", id="no bytes"),
        pytest.param(GOOD[:-2], id="64 bytes"),
        pytest.param(GOOD + "00", id="66 bytes"),
        pytest.param(GOOD[:-2] + "00", id="v 0"),
        pytest.param(GOOD[:-2] + "01", id="v 1"),
        pytest.param(GOOD[:-2] + "1d", id="v 29"),
        pytest.param("0x" + "00" * 64 + "1b", id="zeros"),
        pytest.param("0x" + "ff" * 64 + "1b", id="beyond the order"),
        pytest.param(_high_s(GOOD), id="high s"),
        pytest.param("Bearer " + GOOD, id="scheme word"),
        pytest.param("zz" * 65, id="not hex"),
    ],
)
def test_a_malformed_signature_names_nobody(signature: str) -> None:
    assert recipes.signer_of(Bytes32(TASK), signature) is None


def test_another_message_names_another_signer() -> None:
    other = Bytes32("0x" + "12" * 32)
    assert word_bytes(other) != word_bytes(Bytes32(TASK))
    assert recipes.signer_of(other, GOOD) != POOL.address


def test_fresh_signatures_differ_and_are_good() -> None:
    made = {recipes.sign_afresh(Bytes32(TASK), POOL) for _ in range(20)}
    assert len(made) == 20
    assert {recipes.signer_of(Bytes32(TASK), signature) for signature in made} == {POOL.address}
