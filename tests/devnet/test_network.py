"""The network's description: what clients are told, in a form that official ones and ours understand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adyton.devnet.network import Network
from adyton.devnet.paths import NetworkPaths
from adyton.sdk.smsentry import ExpectedSms, SmsEntry, parse_entry

TIER = f"sim:{'8d' * 32}"
NETWORK = Network(
    chain_id=134, rpc="http://127.0.0.1:1", hub="0x1", ens_registry="0x2", ens_resolver="0x3",
    market="http://127.0.0.1:2", results="http://127.0.0.1:3", sms="http://127.0.0.1:4", sms_debug="http://127.0.0.1:5",
    cas="https://127.0.0.1:6", cas_enclave="127.0.0.1:7", platform_socket="s", tier=TIER,
    measurements={"sms-production": "5a" * 32, "sms-debug": "6b" * 32},
    sms_tls="https://127.0.0.1:8", sms_debug_tls="https://127.0.0.1:9",
)  # fmt: skip


def entry(network: Network, chain: str) -> SmsEntry:
    return parse_entry(network.chain_json()["chains"][chain]["sms"]["scone"])


def test_each_chain_names_the_enclave_of_its_own_sms() -> None:
    assert entry(NETWORK, "bellecour") == SmsEntry(
        NETWORK.sms, ExpectedSms(url=NETWORK.sms_tls, mrenclaves=("5a" * 32,), anchors=(TIER,))
    )
    assert entry(NETWORK, "bellecour-debug") == SmsEntry(
        NETWORK.sms_debug, ExpectedSms(url=NETWORK.sms_debug_tls, mrenclaves=("6b" * 32,), anchors=(TIER,))
    )


def test_the_file_of_an_older_version_is_read_and_promises_nothing(tmp_path: Path) -> None:
    paths = NetworkPaths.of(tmp_path)
    replace(NETWORK, sms_tls="", sms_debug_tls="").save(paths)
    text = "".join(line for line in paths.network_file.read_text().splitlines(keepends=True) if "_tls" not in line)
    paths.network_file.write_text(text.replace('"ready_s": 0.0,', '"ready_s": 0.0'))
    found = Network.read(paths)
    assert (found.sms_tls, entry(found, "bellecour")) == ("", SmsEntry(NETWORK.sms, None))
