"""Params: outputs and messages as observed from the official client, and the services' reading rule."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, Address, Bytes32
from adyton.chain import tags
from adyton.chain.params import DealParams, ParamsError, normalise, parse

TEE = tags.encode(["tee", "scone"])
CALLBACK = Address("0x" + "11" * 20)
CID = "QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ"
IPFS = '"iexec_result_storage_provider":"ipfs"'
FULL = {
    "iexec_args": "command --help",
    "iexec_input_files": ["https://example.com/foo.txt", "https://example.com/bar.zip"],
    "iexec_result_storage_provider": "dropbox",
    "iexec_result_encryption": True,
}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, f"{{{IPFS}}}"),
        ("", f'{{{IPFS},"iexec_args":""}}'),
        ("hello world", f'{{{IPFS},"iexec_args":"hello world"}}'),
        ("NaN", f'{{{IPFS},"iexec_args":"NaN"}}'),
        ('{"iexec_args":"a b"}', f'{{{IPFS},"iexec_args":"a b"}}'),
        ({"iexec_args": 5}, f'{{{IPFS},"iexec_args":"5"}}'),
        ({"iexec_args": 1.5}, f'{{{IPFS},"iexec_args":"1.5"}}'),
        ({"iexec_args": 1e21}, f'{{{IPFS},"iexec_args":"1e+21"}}'),
        ({"iexec_args": True}, f'{{{IPFS},"iexec_args":"true"}}'),
        ({"iexec_args": 'é\u2028"\\/<'}, f'{{{IPFS},"iexec_args":"é\u2028\\"\\\\/<"}}'),
        (
            {"iexec_input_files": "https://a/b,https://c/d"},
            f'{{{IPFS},"iexec_input_files":["https://a/b","https://c/d"]}}',
        ),
        ({"iexec_input_files": []}, f'{{{IPFS},"iexec_input_files":[]}}'),
        ({"iexec_result_encryption": "true"}, f'{{{IPFS},"iexec_result_encryption":true}}'),
        ({"iexec_result_encryption": 1}, f'{{{IPFS},"iexec_result_encryption":true}}'),
        ({"iexec_result_encryption": "false"}, f'{{{IPFS},"iexec_result_encryption":false}}'),
        ({"iexec_args": "x", "iexec_result_storage_provider": "ipfs"}, f'{{"iexec_args":"x",{IPFS}}}'),
        ({"iexec_result_storage_provider": "ipfs", "iexec_args": 5}, f'{{{IPFS},"iexec_args":"5"}}'),
        ({"bulk_cid": CID}, f'{{{IPFS},"bulk_cid":"{CID}"}}'),
        ({"iexec_result_storage_proxy": "http://a"}, f'{{"iexec_result_storage_proxy":"http://a",{IPFS}}}'),
        ({"iexec_developer_logger": True, "iexec_args": "q"}, f'{{{IPFS},"iexec_args":"q"}}'),
        ({"foo": 1}, f"{{{IPFS}}}"),
    ],
)
def test_normalised_as_the_official_client_does(params: str | dict[str, Any], expected: str) -> None:
    assert normalise(params) == expected


def test_order_is_kept_when_nothing_changes() -> None:
    assert normalise(FULL, tag=TEE) == json.dumps(FULL, separators=(",", ":"))


def test_all_keys_in_the_fixed_order_when_something_changes() -> None:
    given_params = {
        "iexec_result_encryption": False,
        "iexec_args": "x",
        "iexec_input_files": ["http://a/b"],
        "iexec_result_storage_proxy": "https://z.com",
        "bulk_cid": CID,
        "iexec_secrets": {"10": "c", "2": "b"},
    }
    assert list(json.loads(normalise(given_params, tag=TEE))) == [
        "iexec_result_storage_proxy",
        "iexec_secrets",
        "iexec_result_storage_provider",
        "iexec_result_encryption",
        "bulk_cid",
        "iexec_input_files",
        "iexec_args",
    ]
    assert '"iexec_secrets":{"2":"b","10":"c"}' in normalise(given_params, tag=TEE)


def test_callback_needs_no_storage() -> None:
    assert normalise({"iexec_args": "test params"}, callback=CALLBACK) == '{"iexec_args":"test params"}'
    provider = {"iexec_result_storage_provider": "google"}
    assert normalise(provider, callback=CALLBACK) == '{"iexec_result_storage_provider":"google"}'
    null = {"iexec_result_storage_provider": None}
    assert normalise(null, callback=CALLBACK) == '{"iexec_result_storage_provider":null}'


@pytest.mark.parametrize(
    ("params", "tag", "message"),
    [
        ({"iexec_args": None}, TEE, "iexec_args cannot be null"),
        ({"iexec_input_files": ""}, TEE, 'iexec_input_files[0] "" is not a valid URL'),
        ({"iexec_input_files": ["https://a/b", 5]}, TEE, 'iexec_input_files[1] "5" is not a valid URL'),
        ({"iexec_input_files": ["ftp://a/b"]}, TEE, 'iexec_input_files[0] "ftp://a/b" is not a valid URL'),
        ({"iexec_input_files": None}, TEE, "iexec_input_files cannot be null"),
        ({"iexec_input_files": 5}, TEE, "iexec_input_files must be a `array` type"),
        (
            {"iexec_result_encryption": "yes"},
            TEE,
            'iexec_result_encryption must be a `boolean` type, but the final value was: `"yes"`.',
        ),
        ({"iexec_result_encryption": None}, TEE, "iexec_result_encryption cannot be null"),
        (
            {"iexec_result_storage_provider": "dropbox"},
            ZERO_BYTES32,
            (
                'iexec_result_storage_provider "dropbox" is not supported for non TEE tasks '
                "use supported storage provider ipfs"
            ),
        ),
        (
            {"iexec_result_storage_provider": "google"},
            TEE,
            (
                'iexec_result_storage_provider "google" is not a valid storage provider, '
                "use one of the supported providers (ipfs, dropbox)"
            ),
        ),
        ({"iexec_result_storage_provider": None}, TEE, "iexec_result_storage_provider is a required field"),
        ({"iexec_result_storage_provider": []}, TEE, "iexec_result_storage_provider must be a `string` type"),
        ({"iexec_secrets": {"1": "a"}}, ZERO_BYTES32, "iexec_secrets is not supported for non TEE tasks"),
        ({"iexec_secrets": {"0": "a"}}, TEE, "iexec_secrets mapping keys must be strictly positive integers"),
        ({"iexec_secrets": {"01": "a"}}, TEE, "iexec_secrets mapping keys must be strictly positive integers"),
        ({"iexec_secrets": {"1": 5}}, TEE, "iexec_secrets mapping names must be strings"),
        ({"iexec_secrets": None}, TEE, "iexec_secrets cannot be null"),
        ({"iexec_secrets": "x"}, TEE, 'iexec_secrets must be a `object` type, but the final value was: `"x"`.'),
        ({"bulk_cid": "x"}, TEE, "x is not a valid CID"),
        ({"bulk_cid": None}, TEE, "null is not a valid CID"),
        ({"iexec_result_storage_proxy": "x"}, TEE, 'iexec_result_storage_proxy "x" is not a valid URL'),
        ("5", TEE, "this must be a `object` type, but the final value was: `5`."),
        ("null", TEE, "this cannot be null"),
        ({"iexec_args": "\ud800"}, TEE, "params: the text has a lone surrogate"),
    ],
)
def test_refused_with_the_official_message(params: str | dict[str, Any], tag: Bytes32, message: str) -> None:
    with pytest.raises(ParamsError) as refused:
        normalise(params, tag=tag)
    assert str(refused.value) == message


def test_strict_check_casts_nothing_and_knows_every_key() -> None:
    text = normalise(FULL, tag=TEE)
    assert normalise(text, tag=TEE, strict=True) == text
    with pytest.raises(ParamsError, match=r'^Unknown key "iexec_developer_logger" in params$'):
        normalise({"iexec_developer_logger": True}, strict=True)
    for cast in ({"iexec_args": 5}, {"iexec_result_encryption": "true"}, {"iexec_input_files": "https://a"}):
        with pytest.raises(ParamsError):
            normalise(cast, strict=True)


def test_parse_reads_every_member() -> None:
    text = json.dumps({**FULL, "iexec_secrets": {"1": "a"}, "bulk_cid": CID, "iexec_result_storage_proxy": "http://p"})
    assert parse(text) == DealParams(
        args="command --help",
        input_files=("https://example.com/foo.txt", "https://example.com/bar.zip"),
        result_encryption=True,
        result_storage_provider="dropbox",
        result_storage_proxy="http://p",
        secrets={"1": "a"},
        bulk_cid=CID,
    )
    assert parse("{}") == DealParams()
    assert parse('{"iexec_args":null,"iexec_secrets":null}') == DealParams()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "5",
        "[1]",
        "null",
        '{"iexec_args":"a","iexec_developer_logger":true}',
        '{"iexec_args":',
        '{"iexec_args":{}}',
        '{"iexec_input_files":"https://a"}',
        '{"iexec_secrets":["a"]}',
        '{"iexec_result_encryption":"maybe","iexec_args":"a"}',
        "[" * 100_000,
    ],
)
def test_what_is_not_understood_is_the_command_line(text: str) -> None:
    assert parse(text) == DealParams(args=text, understood=False)


@pytest.mark.parametrize("wish", ["true", '"true"', "1"])
def test_wish_for_encryption_is_understood_in_every_form(wish: str) -> None:
    assert parse(f'{{"iexec_result_encryption":{wish}}}').result_encryption is True


@given(st.text(max_size=60))
def test_parse_never_fails(text: str) -> None:
    assert isinstance(parse(text), DealParams)


def test_defaults_are_those_of_an_order_without_tag_or_callback() -> None:
    assert normalise("a", tag=ZERO_BYTES32, callback=ZERO_ADDRESS) == normalise("a")
