"""What evidence says, field by field, without judging it: for ``adyton evidence show``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta

from adyton.attestation.envelope import Envelope
from adyton.attestation.evidence import measurements_of
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.material import QuotePlatform, key_service
from adyton.attestation.nitro.document import parse_document
from adyton.attestation.ratls.certificate import read_certificate
from adyton.attestation.snp.report import parse_report
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import AdytonError

Fact = tuple[str, str]


def facts(envelope: Envelope) -> Iterator[Fact]:
    """Names and values in reading order: bytes in hex, numbers in decimal.

    Raises:
        AttestationError: the evidence cannot be read.
    """
    yield "kind", envelope.kind.value
    yield "form", envelope.form
    if envelope.certificate is not None:
        yield from _certificate(envelope.certificate)
    reader = {EvidenceKind.SNP: _snp, EvidenceKind.NITRO: _nitro}.get(envelope.kind, _quote)
    yield from reader(envelope.evidence)


def _certificate(der: bytes) -> Iterator[Fact]:
    carried = read_certificate(der)
    yield "cert.form", carried.form.value
    yield "cert.own_key", "true" if carried.names_key else "false"
    yield "cert.purpose", carried.purpose or "none"
    yield "cert.nonce", carried.nonce.hex() or "none"


def _quote(data: bytes) -> Iterator[Fact]:
    quote = parse_quote(data)
    yield "version", str(quote.version)
    yield "qe_svn", str(quote.header.qe_svn)
    yield "pce_svn", str(quote.header.pce_svn)
    yield "qe_vendor", quote.header.qe_vendor.hex()
    yield "user_data", quote.header.user_data.hex()
    yield "cert_type", str(int(quote.certification_type))
    try:
        known = QuotePlatform.of(data)
    except AdytonError as error:
        yield "platform", f"cannot be read: {error.message}"
    else:
        yield "fmspc", known.platform.fmspc
        yield "ca", known.platform.ca.value
        yield "root", known.tier
    yield from measurements_of(quote.body).items()


def _snp(data: bytes) -> Iterator[Fact]:
    report = parse_report(data)
    for each in fields(report):
        value = getattr(report, each.name)
        yield each.name, value.hex() if isinstance(value, bytes) else str(value)
    for place in key_service(data):
        yield "certificates", place


def _nitro(data: bytes) -> Iterator[Fact]:
    document = parse_document(data)
    made = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=document.timestamp)
    yield "module_id", document.module_id
    yield "timestamp", made.isoformat()
    for number, value in document.pcrs.items():
        yield f"pcr{number}", value.hex()
    for name in ("public_key", "user_data", "nonce"):
        value = getattr(document, name)
        yield name, "none" if value is None else value.hex()
