from __future__ import annotations

from typing import Any

import cbor2
import pytest
from tests.attestation.nitro_vendor import LEFT_OUT, Enclave

from adyton.attestation.errors import FormatError
from adyton.attestation.nitro.document import MAX_BUNDLE, MAX_TIMESTAMP, parse_document

ENCLAVE = Enclave()


def test_every_field_is_read() -> None:
    chosen = {"public_key": b"key", "user_data": b"", "nonce": b"nonce"}
    fields = ENCLAVE.fields() | chosen
    document = parse_document(ENCLAVE.document(**chosen))
    for name in ("module_id", "timestamp", "certificate", *chosen):
        assert getattr(document, name) == fields[name]
    assert list(document.cabundle) == fields["cabundle"]
    assert dict(document.pcrs) == fields["pcrs"]
    assert not document.debug


@pytest.mark.parametrize("absent", [None, LEFT_OUT], ids=["null", "left out"])
def test_what_the_enclave_did_not_give_is_absent(absent: object) -> None:
    document = parse_document(ENCLAVE.document(public_key=absent, user_data=absent, nonce=absent))
    assert (document.public_key, document.user_data, document.nonce) == (None, None, None)


def test_a_payload_of_definite_length_is_read() -> None:
    assert parse_document(ENCLAVE.sign(cbor2.dumps(ENCLAVE.fields()))).module_id == ENCLAVE.fields()["module_id"]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("value", [bytes(48), None], ids=["zero", "missing"])
def test_an_image_register_that_is_zero_means_debug(number: int, value: bytes | None) -> None:
    pcrs = dict(ENCLAVE.pcrs) | {number: value}
    document = parse_document(ENCLAVE.document(pcrs={n: each for n, each in pcrs.items() if each is not None}))
    assert document.debug


REGISTER = bytes(48)
WRONG: dict[str, dict[str, Any]] = {
    **{
        f"no {name}": {name: LEFT_OUT}
        for name in ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle")
    },
    **{
        f"{name} is null": {name: None}
        for name in ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle")
    },
    "unknown field": {"nitrotpm_pcrs": {0: REGISTER}},
    "empty module": {"module_id": ""},
    "module in bytes": {"module_id": b"i-0"},
    "module that steers a terminal": {"module_id": "i-0\x1b[2J"},
    "another digest": {"digest": "SHA256"},
    "digest in lower case": {"digest": "sha384"},
    "time of zero": {"timestamp": 0},
    "negative time": {"timestamp": -1},
    "time after all calendars": {"timestamp": MAX_TIMESTAMP + 1},
    "time in text": {"timestamp": "1766678659346"},
    "no registers": {"pcrs": {}},
    "registers in an array": {"pcrs": [REGISTER]},
    "register 32": {"pcrs": {32: REGISTER}},
    "register -1": {"pcrs": {-1: REGISTER}},
    "register by name": {"pcrs": {"0": REGISTER}},
    "33 registers": {"pcrs": dict.fromkeys(range(33), REGISTER)},
    "short register": {"pcrs": {0: bytes(47)}},
    "long register": {"pcrs": {0: bytes(65)}},
    "empty register": {"pcrs": {0: b""}},
    "register in text": {"pcrs": {0: "0" * 48}},
    "empty certificate": {"certificate": b""},
    "certificate over the limit": {"certificate": bytes(1025)},
    "certificate in text": {"certificate": "MII"},
    "empty bundle": {"cabundle": []},
    "bundle over the limit": {"cabundle": [b"x"] * (MAX_BUNDLE + 1)},
    "bundle that is bytes": {"cabundle": b"x"},
    "bundle with null": {"cabundle": [None]},
    "bundle with an empty certificate": {"cabundle": [b"x", b""]},
    "bundle in a map": {"cabundle": {0: b"x"}},
    "empty public key": {"public_key": b""},
    "public key over the limit": {"public_key": bytes(1025)},
    "user data over the limit": {"user_data": bytes(513)},
    "nonce over the limit": {"nonce": bytes(513)},
    "nonce in text": {"nonce": "nonce"},
    "nonce that is a number": {"nonce": 1},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_documents_outside_the_specification_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError) as caught:
        parse_document(ENCLAVE.document(**changes))
    assert caught.value.code == "attestation.nitro.format"


@pytest.mark.parametrize(
    "payload",
    [
        cbor2.dumps([1]),
        cbor2.dumps("text"),
        b"\xbf\xff",
        ENCLAVE.payload() + b"\xf6",
        ENCLAVE.payload()[:-1] + cbor2.dumps("digest") + cbor2.dumps("SHA384") + b"\xff",
        ENCLAVE.payload().replace(b"\x66digest\x66SHA384", b"\x66digest\x78\x06SHA384"),
        ENCLAVE.payload().replace(b"\x66digest\x66SHA384", b"\x66digest\x7f\x66SHA384\xff"),
    ],
    ids=["array", "text", "empty", "bytes after", "field twice", "longer form", "text of indefinite length"],
)
def test_payloads_that_are_not_one_document_are_refused(payload: bytes) -> None:
    message = ENCLAVE.sign(payload)
    with pytest.raises(FormatError) as caught:
        parse_document(message)
    assert caught.value.code == "attestation.nitro.format"
    assert message.index(payload) <= caught.value.offset < len(message)
