"""chain.json: which chain, and what falls back to the built-in networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adyton.sdk import config
from adyton.sdk.config import ChainConfig
from adyton.sdk.errors import ClientError, ConfigurationError
from adyton.sdk.files import Project

HUB = "0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f"
OTHER = "0xC129e7917b7c7DeDfAa5Fff1FB18d5D7050fE8ca"


def load(folder: Path, document: Any, choice: str | None = None) -> ChainConfig:  # noqa: ANN401
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "chain.json").write_text(text)
    return config.load(Project(folder), choice)


def chain(**keys: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"default": "x", "chains": {"x": keys}}


def test_builtin_values_fill_what_is_absent(tmp_path: Path) -> None:
    found = load(tmp_path, {"default": "bellecour", "chains": {"bellecour": {"host": "http://here:1"}}})
    assert (found.chain_id, found.hub, found.native, found.free_gas) == (134, HUB, True, True)
    assert (found.host, found.host_is_builtin) == ("http://here:1", False)
    assert found.url("iexecGateway") == "https://api.market.v8-bellecour.iex.ec"
    assert found.sms_url() == "https://sms.iex.ec"
    assert found.sms_url("gramine") == "https://sms.gramine.v8-bellecour.iex.ec"
    assert load(tmp_path, {"default": "bellecour", "chains": {"bellecour": {}}}).host_is_builtin


def test_the_configured_id_chooses_the_builtin_network(tmp_path: Path) -> None:
    found = load(tmp_path, chain(id="134", host="http://here:1", hub=OTHER.lower(), native=False, useGas=True))
    assert (found.name, found.hub, found.native) == ("x", OTHER, False)
    own = load(tmp_path, chain(id="77", host="http://here:1", hub=HUB))
    assert (own.chain_id, own.native, own.free_gas, own.urls, own.sms) == (77, False, False, {}, {})
    assert load(tmp_path, chain(id="77", host="http://here:1", hub=HUB, useGas=False)).free_gas


def test_sms_replaces_the_map_as_a_whole(tmp_path: Path) -> None:
    found = load(tmp_path, chain(id="134", sms={"tdx": "http://tdx"}))
    assert found.sms_url("tdx") == "http://tdx"
    with pytest.raises(ClientError, match=r'Missing sms for tee framework scone in "chain.json" for chain 134'):
        found.sms_url()
    one = load(tmp_path, chain(id="134", sms="http://all", defaultTeeFramework="tdx"))
    assert {one.sms_url(), one.sms_url("scone"), one.sms_url("gramine")} == {"http://all"}


@pytest.mark.parametrize("choice", ["bellecour", "134"])
def test_choice_by_name_or_builtin_id(tmp_path: Path, choice: str) -> None:
    document = {"default": "own", "chains": {"bellecour": {}, "own": {"id": "77", "host": "http://h", "hub": HUB}}}
    assert load(tmp_path, document, choice).chain_id == 134
    assert load(tmp_path, document).chain_id == 77


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (chain(id=134), "ValidationError: id must be a `string` type, but the final value was: `134`. in chain.json"),
        (chain(id="abc"), "ValidationError: abc is not a valid chainId in chain.json"),
        (chain(id="134", foo=1), 'ValidationError: Unknown key "foo" in chain.json'),
        (chain(id="134") | {"foo": 1}, 'ValidationError: Unknown key "foo" in chain.json'),
        (chain(ipfsNode="http://a"), 'ValidationError: Unknown key "ipfsNode" in chain.json'),
        ({"default": "x"}, "ValidationError: chains is a required field in chain.json"),
        ({"default": "x", "chains": {"y": {}}}, 'Missing "x" chain in "chain.json"'),
        ({"chains": {"y": {}}}, 'Missing chain parameter. Check your "chain.json" file'),
        ([], "ValidationError: this must be a `object` type, but the final value was: `[]`. in chain.json"),
        (chain(), 'Missing RPC host, no "host" key in "chain.json" and no default value for chain undefined'),
        (chain(id="77"), 'Missing RPC host, no "host" key in "chain.json" and no default value for chain 77'),
        (chain(id="77", host="http://a"), "missing hubAddress key"),
        (chain(id="134", host="foo"), "Invalid provider host name or url"),
        (chain(id="134", host=None), "ValidationError: host cannot be null in chain.json"),
        (
            chain(id="134", native="maybe"),
            'ValidationError: native must be a `boolean` type, but the final value was: `"maybe"`. in chain.json',
        ),
        (
            chain(id="134", sms={"foo": "http://a"}),
            "ValidationError: sms field has unspecified keys: foo in chain.json",
        ),
        (
            chain(id="134", sms={"scone": "https://a#mrenclav=1"}),
            "the fragment of the SMS's URL in chain.json has unknown members: mrenclav",
        ),
        (
            chain(id="134", sms=5),
            "ValidationError: sms must be a `string` type, but the final value was: `5`. in chain.json",
        ),
        (
            chain(id="134", defaultTeeFramework="foo"),
            "ValidationError: defaultTeeFramework is not a valid TEE framework in chain.json",
        ),
        (
            {"default": 5, "chains": {}},
            "ValidationError: default must be a `string` type, but the final value was: `5`. in chain.json",
        ),
        (
            {"default": "x", "chains": {"x": 5}},
            "ValidationError: this must be a `object` type, but the final value was: `5`. in chain.json",
        ),
        (
            chain(id="134") | {"providers": {"quorum": 9}},
            "ValidationError: providers.quorum must be less than or equal to 3 in chain.json",
        ),
    ],
)
def test_wrong_files(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(ClientError) as caught:
        load(tmp_path, document)
    assert caught.value.message == message


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r'Missing "chain.json" file, did you forget to run "iexec init"'):
        config.load(Project(tmp_path))
    with pytest.raises(ClientError, match=r"^SyntaxError: .* in chain.json$"):
        load(tmp_path, "{bad")
    with pytest.raises(ClientError, match=r"in chain.json"):
        load(tmp_path, "[" * 100_000)


def test_features(tmp_path: Path) -> None:
    arbitrum = load(tmp_path, {"default": "arbitrum-mainnet", "chains": {"arbitrum-mainnet": {}}})
    with pytest.raises(ConfigurationError, match=r"^ENS is not available on network arbitrum-mainnet$"):
        arbitrum.require_feature(config.ENS)
    load(tmp_path, chain(id="77", host="http://a", hub=HUB)).require_feature(config.ENS)


def test_default_framework(tmp_path: Path) -> None:
    assert config.default_framework_of(Project(tmp_path)) == "scone"
    load(tmp_path, chain(id="134", defaultTeeFramework="tdx"))
    assert config.default_framework_of(Project(tmp_path)) == "tdx"
