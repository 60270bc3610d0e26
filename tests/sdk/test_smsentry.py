"""SMS entries of chain.json: what they say is understood, and what is not understood is refused."""

from __future__ import annotations

from typing import Final

import pytest

from adyton.base.errors import AdytonError
from adyton.sdk.errors import ConfigurationError
from adyton.sdk.smsentry import ExpectedSms, SmsEntry, parse_entry

M, N, S = "5a" * 32, "6b" * 32, "7c" * 32
SIM: Final = f"sim:{'8d' * 32}"


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        pytest.param("http://127.0.0.1:13300", SmsEntry("http://127.0.0.1:13300", None), id="nothing expected"),
        pytest.param(
            f"http://127.0.0.1:13300#tls=https://127.0.0.1:13302&mrenclave={M}&anchor={SIM}",
            SmsEntry(
                "http://127.0.0.1:13300",
                ExpectedSms(url="https://127.0.0.1:13302", mrenclaves=(M,), anchors=(SIM,)),
            ),
            id="of a local network",
        ),
        pytest.param(
            f"https://sms.example/#mrenclave={M}&mrenclave={N}&pccs=https://pccs.example&tolerate=outdated-tcb",
            SmsEntry(
                "https://sms.example/",
                ExpectedSms(
                    url="https://sms.example",
                    mrenclaves=(M, N),
                    tolerate=("outdated-tcb",),
                    pccs="https://pccs.example",
                ),
            ),
            id="the URL itself proves; two builds",
        ),
        pytest.param(
            f"https://sms.example#mrsigner={S}&product=3&min-svn=2",
            SmsEntry(
                "https://sms.example",
                ExpectedSms(url="https://sms.example", mrsigners=(S,), product=3, min_svn=2),
            ),
            id="by signer",
        ),
    ],
)
def test_what_is_understood(text: str, entry: SmsEntry) -> None:
    assert parse_entry(text) == entry
    if entry.expected is not None:
        policy = entry.expected.policy()
        assert {value.hex() for value in policy.mrenclaves} == set(entry.expected.mrenclaves)
        assert [anchor.tier for anchor in policy.anchors] == list(entry.expected.anchors)
        assert (policy.isvprodid, policy.min_isvsvn) == (entry.expected.product, entry.expected.min_svn)


@pytest.mark.parametrize(
    ("fragment", "named"),
    [
        ("", "names no enclave"),
        ("mrenclave", "name=value"),
        (f"mrenclave={M}&mrenclav={N}", "unknown members: mrenclav"),
        (f"mrenclave={M[:-1]}", "mrenclave that is not 64"),
        (f"mrenclave={M.upper()}", "mrenclave that is not 64"),
        ("mrenclave=", "mrenclave that is not 64"),
        (f"mrsigner={S}", "names no enclave"),
        ("product=3", "names no enclave"),
        (f"mrsigner={S}&product=x", "product that is no number"),
        (f"mrsigner={S}&product=1&product=2", "says product twice"),
        (f"mrenclave={M}&tls=http://127.0.0.1:1", "no https:// address"),
        (f"mrenclave={M}&tls=", "no https:// address"),
        (f"mrenclave={M}&tls=https://", "no https:// address"),
        (f"mrenclave={M}&tls=https://[::1", "no https:// address"),
        (f"mrenclave={M}&tls=https://a:70000", "no https:// address"),
        (f"mrenclave={M}", "no https:// address"),  # the URL itself is plain HTTP
        ("&".join([f"mrenclave={M}"] * 65), "name=value"),
    ],
)
def test_what_is_not_understood(fragment: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=r"fragment of the SMS's URL") as caught:
        parse_entry(f"http://127.0.0.1:13300#{fragment}")
    assert named in caught.value.message
    assert caught.value.code == "sdk.configuration.sms"


@pytest.mark.parametrize(("anchor", "tolerate"), [("simulated", ""), ("intel", "anything")])
def test_values_that_no_policy_can_have(anchor: str, tolerate: str) -> None:
    more = f"&tolerate={tolerate}" if tolerate else ""
    expected = parse_entry(f"https://a#mrenclave={M}&anchor={anchor}{more}").expected
    assert expected is not None
    with pytest.raises(AdytonError):
        expected.policy()


@pytest.mark.parametrize(
    ("url", "readable"),
    [
        ("http://127.0.0.1:13300", False), ("http://127.8.9.1", False), ("http://[::1]:13300", False),
        ("http://localhost:13300", False), ("http://sms.localhost", False), ("https://sms.example", False),
        ("http://sms.example", True), ("http://10.0.0.5:13300", True), ("http://localhost.example", True),
        ("http://127.0.0.1.example", True), ("http://0.0.0.0:1", True),
    ],
)  # fmt: skip
def test_who_can_read_along(url: str, readable: bool) -> None:
    assert parse_entry(url).readable is readable
