"""Every form in which people have evidence, and every wrong file that they give instead."""

from __future__ import annotations

import base64
import contextlib
import gzip
import os
import struct
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from adyton.attestation.envelope import MAX_ENVELOPE_BYTES, SNP_REPORT_BYTES, Envelope, kind_of, open_envelope
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.quote import QE_VENDOR_INTEL
from adyton.attestation.ratls.certificate import make_certificate
from adyton.attestation.verdict import EvidenceKind

KEY = ec.generate_private_key(ec.SECP256R1())


def quote(version: int, tee: int, *, body: bytes = bytes(range(256)) * 3) -> bytes:
    """The marks of a quote, and a body with every byte value; only parsers ask for more."""
    return struct.pack("<HHIHH16s20s", version, 2, tee, 1, 2, QE_VENDOR_INTEL, bytes(20)) + body


SGX3, SGX4, SGX5 = quote(3, 0), quote(4, 0), quote(5, 0)
TDX4, TDX5 = quote(4, 0x81), quote(5, 0x81)
SNP = struct.pack("<II", 3, 1).ljust(SNP_REPORT_BYTES, b"\x5a")
NITRO = bytes.fromhex("8444a1013822a0") + b"\x59\x02\x00" + bytes(512) + b"\x58\x60" + bytes(96)
EVIDENCE = [
    pytest.param(EvidenceKind.SGX, SGX3, id="sgx-v3"),
    pytest.param(EvidenceKind.SGX, SGX4, id="sgx-v4"),
    pytest.param(EvidenceKind.SGX, SGX5, id="sgx-v5"),
    pytest.param(EvidenceKind.TDX, TDX4, id="tdx-v4"),
    pytest.param(EvidenceKind.TDX, TDX5, id="tdx-v5"),
    pytest.param(EvidenceKind.SNP, SNP, id="snp"),
    pytest.param(EvidenceKind.NITRO, NITRO, id="nitro"),
    pytest.param(EvidenceKind.NITRO, b"\xd2" + NITRO, id="nitro-tagged"),
]


def lines(text: str, width: int = 64) -> str:
    return "\n".join(textwrap.wrap(text, width)) + "\n"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pem(data: bytes, label: str = "SGX QUOTE") -> str:
    return f"-----BEGIN {label}-----\n{lines(b64(data))}-----END {label}-----\n"


FORMS: dict[str, Callable[[bytes], bytes | str]] = {
    "binary": lambda data: data,
    "hex": lambda data: data.hex(),
    "hex upper": lambda data: data.hex().upper(),
    "hex 0x": lambda data: "0x" + data.hex(),
    "hex 0X, newline": lambda data: "0X" + data.hex() + "\n",
    "hex lines": lambda data: lines(data.hex()),
    "hex CRLF": lambda data: lines(data.hex()).replace("\n", "\r\n"),
    "hex blanks": lambda data: data.hex(" "),
    "hex tabs": lambda data: "\t" + data.hex("\t", 4) + "\t",
    "hex BOM": lambda data: "\ufeff" + data.hex(),
    "base64": b64,
    "base64 newline": lambda data: b64(data) + "\n",
    "base64 lines": lambda data: lines(b64(data), 76),
    "base64 CRLF": lambda data: lines(b64(data), 76).replace("\n", "\r\n"),
    "base64 BOM": lambda data: "\ufeff" + b64(data),
    "base64 no padding": lambda data: b64(data).rstrip("="),
    "base64 url": base64.urlsafe_b64encode,
    "base64 url lines": lambda data: lines(base64.urlsafe_b64encode(data).decode()),
    "base64 url no padding": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
    "base64 UTF-16": lambda data: (b64(data) + "\r\n").encode("utf-16"),
    "PEM": pem,
    "PEM CRLF": lambda data: pem(data).replace("\n", "\r\n"),
    "PEM other label": lambda data: pem(data, "ATTESTATION REPORT"),
    "PEM one line": lambda data: f"-----BEGIN QUOTE-----\n{b64(data)}\n-----END QUOTE-----",
    "PEM with text": lambda data: f"Evidence of 'enclave' \u2013 staging:\n{pem(data)}done\n",
    "PEM twice the same": lambda data: pem(data) + pem(data, "QUOTE"),
}


def as_bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


@pytest.mark.parametrize(("kind", "evidence"), EVIDENCE)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_every_kind(kind: EvidenceKind, evidence: bytes, form: str) -> None:
    for sample in (evidence, evidence + b"\x01", evidence + b"\x01\x02"):  # all three paddings of base64
        if kind is EvidenceKind.SNP and sample != evidence:
            continue  # a report has one size
        opened = open_envelope(as_bytes(FORMS[form](sample)))
        assert (opened.kind, opened.evidence, opened.certificate) == (kind, sample, None)
        assert opened.form.startswith(form.partition(" ")[0])


@dataclass(frozen=True)
class Quoting:
    """What makes evidence for a certificate here: bytes with the marks of a quote."""

    evidence: bytes

    def quote(self, report_data: bytes) -> bytes:
        return self.evidence + report_data


def certificate(evidence: bytes = SGX3) -> bytes:
    return make_certificate(KEY, Quoting(evidence), "cas-server", bytes(16))


def plain_certificate() -> bytes:
    """A certificate without evidence, self-signed by the same key."""
    opened = x509.load_der_x509_certificate(certificate())
    builder = (
        x509.CertificateBuilder()
        .subject_name(opened.subject)
        .issuer_name(opened.subject)
        .public_key(KEY.public_key())
        .serial_number(5)
        .not_valid_before(opened.not_valid_before_utc)
        .not_valid_after(opened.not_valid_after_utc)
    )
    return builder.sign(KEY, SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "form",
    [
        lambda der: der,
        lambda der: pem(der, "CERTIFICATE"),
        lambda der: pem(der, "CERTIFICATE").replace("\n", "\r\n"),
        lambda der: "Certificate:\n    Data:\n" + pem(der, "CERTIFICATE"),
        lambda der: pem(plain_certificate(), "CERTIFICATE") + pem(der, "CERTIFICATE"),
        b64,
        lambda der: der.hex(),
    ],
    ids=["der", "pem", "pem-crlf", "openssl-text", "chain", "base64", "hex"],
)
@pytest.mark.parametrize(("kind", "evidence"), EVIDENCE[:5])
def test_evidence_in_a_certificate(kind: EvidenceKind, evidence: bytes, form: Callable[[bytes], bytes | str]) -> None:
    der = certificate(evidence)
    opened = open_envelope(as_bytes(form(der)))
    assert opened.kind is kind
    assert opened.evidence.startswith(evidence)
    assert opened.certificate == der
    assert "RA-TLS certificate" in opened.form


SECRET_KEY = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
REFUSED: dict[str, tuple[bytes | str, str, str]] = {
    "nothing": (b"", "attestation.envelope.empty", "empty"),
    "blanks": (b" \r\n\t\n", "attestation.envelope.empty", "empty"),
    "only a BOM": ("\ufeff", "attestation.envelope.empty", "empty"),
    "zeros": (bytes(500), "attestation.envelope.empty", "empty"),
    "too large": (b"A" * (MAX_ENVELOPE_BYTES + 1), "attestation.envelope.size", "more than"),
    "random": (b"\x80" + os.urandom(2000) + b"\xff\xff", "attestation.envelope.unknown", "2003 bytes of binary data"),
    "prose": ("This is not a quote.", "attestation.envelope.unknown", "neither hex nor base64 nor PEM"),
    "collateral": (
        '{"tcb_info": "{}", "chain": "-----BEGIN CERTIFICATE-----\\n"}',
        "attestation.envelope.unknown",
        "JSON",
    ),
    "other hex": ("c0ffee" * 20, "attestation.envelope.unknown", "60 other bytes in hex"),
    "other hex 0x": ("0x" + "c0ffee" * 20, "attestation.envelope.unknown", "60 other bytes in hex"),
    "other base64": (b64(b"hello, this is no evidence"), "attestation.envelope.unknown", "26 other bytes in base64"),
    "hex with an odd digit": (SGX3.hex()[:-1], "attestation.envelope.encoding", "odd number of digits"),
    "hex with a foreign letter": (SGX3.hex() + "g!", "attestation.envelope.unknown", "neither hex"),
    "base64 cut inside a character": (b64(SGX3)[:1001], "attestation.envelope.unknown", "neither hex"),
    "base64 of two alphabets": (b64(SGX3) + "-_", "attestation.envelope.unknown", "neither hex"),
    "PEM without an end": (pem(SGX3)[:-30], "attestation.envelope.encoding", "cut off"),
    "PEM that is not base64": ("-----BEGIN Q-----\n!\n-----END Q-----", "attestation.envelope.encoding", "cut off"),
    "PEM with nothing inside": ("-----BEGIN Q-----\n-----END Q-----", "attestation.envelope.encoding", "cut off"),
    "PEM with another end": (
        pem(SGX3).replace("END SGX QUOTE", "END QUOTE"),
        "attestation.envelope.encoding",
        "cut off",
    ),
    "one good PEM, one cut": (pem(SGX3) + pem(SGX3)[:200], "attestation.envelope.encoding", "cut off"),
    "a public key": (
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "attestation.envelope.unknown",
        "PEM",
    ),
    "a private key": (SECRET_KEY, "attestation.envelope.private_key", "private key"),
    "a certificate with its private key": (
        pem(certificate(), "CERTIFICATE") + SECRET_KEY,
        "attestation.envelope.private_key",
        "private key",
    ),
    "a private key in DER": (
        KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        "attestation.envelope.unknown",
        "binary",
    ),
    "a certificate without evidence": (plain_certificate(), "attestation.certificate.format", "no evidence extension"),
    "a certificate with a report of AMD": (certificate(SNP[:-64]), "attestation.envelope.unknown", "no SGX or TDX"),
    "packed": (gzip.compress(SGX3), "attestation.envelope.unknown", "gzip"),
    "two quotes": (pem(SGX3) + pem(TDX4), "attestation.envelope.ambiguous", "sgx as PEM, sgx quote, tdx as PEM"),
    "two certificates": (
        pem(certificate(), "CERTIFICATE") + pem(certificate(TDX4), "CERTIFICATE"),
        "attestation.envelope.ambiguous",
        "2 different",
    ),
    "marks of two": (
        struct.pack("<HHIHH16s", 3, 0, 0, 0, 0, QE_VENDOR_INTEL).ljust(SNP_REPORT_BYTES, b"\0"),
        "attestation.envelope.ambiguous",
        "both sgx and snp",
    ),
    "a quote of a version to come": (quote(6, 0), "attestation.quote.version", "version 6"),
    "a quote of version 2": (quote(2, 0), "attestation.quote.version", "version 2"),
    "a quote of another TEE": (quote(4, 0x82), "attestation.quote.tee_type", "0x82"),
    "a report cut short": (SNP[:-1], "attestation.envelope.unknown", "1183 bytes"),
    "a report of version 1": (b"\x01" + SNP[1:], "attestation.envelope.unknown", "binary"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_files(name: str) -> None:
    data, code, said = REFUSED[name]
    with pytest.raises(AttestationError) as caught:
        open_envelope(as_bytes(data))
    assert caught.value.code == code
    assert said in caught.value.message


@pytest.mark.parametrize("name", [name for name in REFUSED if "private key" in name])
def test_a_private_key_is_never_repeated(name: str) -> None:
    with pytest.raises(AttestationError) as caught:
        open_envelope(as_bytes(REFUSED[name][0]))
    said = caught.value.message + caught.value.hint + repr(caught.value.args)
    assert caught.value.__cause__ is None
    for line in SECRET_KEY.splitlines()[1:-1]:
        assert not any(line[n : n + 12] in said for n in range(0, len(line) - 12, 12))


def test_the_start_of_a_quote_is_left_to_its_parser() -> None:
    assert open_envelope(SGX3[:28]) == Envelope(EvidenceKind.SGX, SGX3[:28], "binary")
    assert kind_of(SGX3[:27]) is None


def test_real_samples(evidence: Path) -> None:
    for name, kind in (("sgx_quote", EvidenceKind.SGX), ("tdx_quote", EvidenceKind.TDX)):
        data = (evidence / name).read_bytes()
        for form in FORMS.values():
            opened = open_envelope(as_bytes(form(data)))
            assert (opened.kind, opened.evidence) == (kind, data)


@given(st.binary(max_size=3000))
def test_any_bytes_open_or_raise_a_typed_error(data: bytes) -> None:
    with contextlib.suppress(AttestationError):
        assert open_envelope(data).evidence


@given(st.integers(0, 600), st.integers(0, 255), st.sampled_from(sorted(FORMS)))
def test_a_changed_quote_is_never_taken_for_another_technology(position: int, value: int, form: str) -> None:
    changed = bytearray(SGX4)
    changed[position] = value
    with contextlib.suppress(AttestationError):
        opened = open_envelope(as_bytes(FORMS[form](bytes(changed))))
        assert opened.kind in {EvidenceKind.SGX, EvidenceKind.TDX}
        assert opened.evidence == changed
