"""Vectors recomputed independently from the official services' tests."""

from __future__ import annotations

import pytest

from adyton.base.errors import InputError
from adyton.base.types import Address, Bytes32, parse_address
from adyton.chain import hashing
from adyton.chain.hashing import concat_hash, hash_text

A = "0x748e091bf16048cb5103E0E10F9D5a8b7fBDd860"
B = "0xd94b63fc2d3ec4b96daf84b403bbafdc8c8517e8e2addd51fec0fa4e67801be8"
C = "0x9a43BB008b7A657e1936ebf5d8e28e5c5E021596"
DOMAIN = hash_text("IEXEC_SMS_DOMAIN")
TASK = Bytes32("0x" + "11" * 32)
WORKER = parse_address("0x87ae2b87b5db23830572988fb1f51242fbc471ce")
CHALLENGE = Address("0x" + "ee" * 20)
DIGEST = Bytes32("0x66a045b452102c59d840ec097d59d9467e13a3f34f6494e539ffd32c1bb35f18")


def test_domain() -> None:
    assert DOMAIN == "0x0a26923d45a019b77e856d0001681f98ab9707ec15b2b98048cc91eed00b6793"


@pytest.mark.parametrize(
    ("texts", "expected"),
    {
        "one": ([A], "0x7ec1be13dbade2e3bfde8c2bdf68859dfff4ea620b3340c451ec56b5fa505ab1"),
        "two": ([A, B], "0x9ca8cbf81a285c62778678c874dae13fdc6857566b67a9a825434dd557e18a8d"),
        "three": ([A, B, C], "0x54a76d209e8167e1ffa3bde8e3e7b30068423ca9554e1d605d8ee8fd0f165562"),
        "no prefix": ([A[2:], B], "0x9ca8cbf81a285c62778678c874dae13fdc6857566b67a9a825434dd557e18a8d"),
        "empty address": (
            [DOMAIN, "", hash_text("0"), hash_text("")],
            "0x31991eefc2731228bdd25dbc5a242722eda3869f9b06536dbd96a774e5228509",
        ),
        "odd number of digits": (
            [DOMAIN, "0x123", hash_text("ghijk")],
            "0x8d0b92aaf96f66f172d7615b81f257ebdece2278b7da6c60127cad45852eaaf6",
        ),
        "requester secret": (
            [DOMAIN, "0x123790ae4e14865b972ee04a5f9fd5fb153cd5e7", hash_text("my-secret"), hash_text("value")],
            "0x0468797eab72f209e38a31d624e733b762cafc174ce002ee0d13a1efcac22b7e",
        ),
        "challenge request": (["", TASK, ""], "0xb569321de72d0af89c2fb48a484de3fc9343f31600ae1f3e13d633cb48cbf816"),
        "worker call": ([TASK, WORKER], "0xa2103d824829d02b91bb27bed19bb9d30e209469bdf3962a2284be28618f64f1"),
    }.values(),
)
def test_concat_hash(texts: list[str], expected: str) -> None:
    assert concat_hash(*texts) == expected


@pytest.mark.parametrize("text", ["0xg0", "hello", "0x0x11", " 11", "11\n", "é"])
def test_concat_hash_refuses_what_is_not_hex(text: str) -> None:
    with pytest.raises(InputError):
        concat_hash(text)


def test_authorization() -> None:
    assert hashing.authorization_hash(WORKER, TASK, CHALLENGE) == (
        "0x92ccfe8ca6af2199a9ab4495cd93a9d4acce64bf9601587378e9e0b9eb355b92"
    )


def test_contribution_message() -> None:
    assert hashing.contribution_message(TASK, WORKER, DIGEST) == (
        "0xb54c9017c5ed5c4810162a60548db9538e5d14152b8d9127454995229b73e2b6"
    )
    joined = concat_hash(
        hashing.result_hash(TASK, DIGEST),
        hashing.result_seal(WORKER, TASK, DIGEST),
    )
    assert joined == hashing.contribution_message(TASK, WORKER, DIGEST)


def test_task_id() -> None:
    assert hashing.task_id(Bytes32("0x" + "22" * 32), 0) == (
        "0x3ce992a2ff7a827e1758bb768873236a5a08de2ac7550ad6d6e12be43dde299e"
    )


@pytest.mark.parametrize("index", [-1, 2**256])
def test_task_id_refuses_an_index_that_is_no_uint256(index: int) -> None:
    with pytest.raises(InputError):
        hashing.task_id(TASK, index)
