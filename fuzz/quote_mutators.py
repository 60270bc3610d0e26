"""Mutators of quotes that know their structure: lengths, fields, certificates, and who signs what."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import fields, replace
from random import Random
from typing import Any, Final

from fuzz.certificates import reissue_chain
from fuzz.specimen import Maker, Specimen, point

from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.layout import Structure
from adyton.attestation.formats.quote import Quote, parse_quote
from adyton.attestation.formats.sgx import Attributes, Flag
from adyton.attestation.formats.tdx import TdReport
from adyton.base.errors import InputError
from fuzz import bytewise

_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)


def any_bytes(rng: Random, specimen: Specimen, others: tuple[Specimen, ...]) -> Specimen:
    """Bytes anywhere in the quote."""
    return replace(specimen, quote=bytewise.mutate(rng, specimen.quote, rng.choice(others).quote))


def head_bytes(rng: Random, specimen: Specimen, _others: tuple[Specimen, ...]) -> Specimen:
    """A bit of what lies before the certificates."""
    split = max(specimen.quote.find(b"-----BEGIN"), 1)
    return replace(specimen, quote=bytewise.flip(rng, specimen.quote[:split]) + specimen.quote[split:])


def lengths(rng: Random, specimen: Specimen, _others: tuple[Specimen, ...]) -> Specimen:
    """A length or type field, and sometimes as many bytes as it then says."""
    offset, size = rng.choice(_length_fields(specimen.quote))
    data = bytearray(specimen.quote)
    if offset + size > len(data):
        return specimen
    value = int.from_bytes(data[offset : offset + size], "little")
    changed = rng.choice((0, value - 1, value + 1, value + rng.randint(2, 99), value * 2, (1 << 8 * size) - 1, 6, 5))
    changed %= 1 << 8 * size
    data[offset : offset + size] = changed.to_bytes(size, "little")
    if rng.random() < 0.4 and value < changed < value + 4096:
        data += rng.choice((bytes, rng.randbytes))(changed - value)
    elif rng.random() < 0.4 and changed < value <= len(data):
        del data[len(data) - (value - changed) :]
    return replace(specimen, quote=bytes(data))


def _length_fields(quote: bytes) -> list[tuple[int, int]]:
    """Offset and size of type and length fields, by version; what a broken quote has there does not matter."""
    version, tee = struct.unpack_from("<H2xI", quote.ljust(8, b"\0"))
    places = [(0, 2), (2, 2), (4, 4)]
    start = 48
    if version == 5:
        places += [(48, 2), (50, 4)]
        start = 54 + min(struct.unpack_from("<I", quote.ljust(54, b"\0"), 50)[0], 648)
    else:
        start += 584 if tee else 384
    places.append((start, 4))
    start += 4 + 128
    if version != 3:
        places += [(start, 2), (start + 2, 4)]
        start += 6
    start += 384 + 64
    auth = struct.unpack_from("<H", quote[start : start + 2].ljust(2, b"\0"))[0]
    return [*places, (start, 2), (start + 2 + auth, 2), (start + 4 + auth, 4)]


def parsed(change: Callable[[Random, Quote, Maker | None], Quote]) -> Callable[..., Specimen]:
    """Make a mutator of parsed quotes one of specimens."""

    def mutator(rng: Random, specimen: Specimen, _others: tuple[Specimen, ...]) -> Specimen:
        try:
            changed = change(rng, parse_quote(specimen.quote), specimen.maker).to_bytes()
        except (AttestationError, InputError):  # mutated before beyond reading, or to what has no bytes
            return specimen
        return replace(specimen, quote=changed)

    mutator.__name__, mutator.__doc__ = change.__name__, change.__doc__
    return mutator


@parsed
def field_unsigned(rng: Random, quote: Quote, _maker: Maker | None) -> Quote:
    """A field, with the signatures as they were."""
    return _changed(rng, quote)


@parsed
def field_signed(rng: Random, quote: Quote, maker: Maker | None) -> Quote:
    """A field of header or body, signed again: what a quoting enclave that lies would make."""
    if maker is None:
        return _changed(rng, quote)
    part = rng.choice(("header", "body", "body"))
    return maker.signed(replace(quote, **{part: _with_field(rng, getattr(quote, part))}))


@parsed
def attributes_signed(rng: Random, quote: Quote, maker: Maker | None) -> Quote:
    """Bits of the attributes, signed again."""
    if maker is None:
        return _changed(rng, quote)
    bit = 1 << rng.randrange(64)
    if isinstance(quote.body, TdReport):
        name = rng.choice(("td_attributes", "xfam", "seam_attributes"))
        return maker.signed(replace(quote, body=replace(quote.body, **{name: getattr(quote.body, name) ^ bit})))
    old = quote.body.attributes
    flags = rng.choice((old.flags ^ bit, old.flags ^ rng.choice(list(Flag)), 0))
    return maker.signed(replace(quote, body=replace(quote.body, attributes=Attributes(flags, old.xfrm))))


@parsed
def svns_signed(rng: Random, quote: Quote, maker: Maker | None) -> Quote:
    """The SVNs that decide about a TDX level, or the CPUSVN, signed again."""
    if maker is None:
        return _changed(rng, quote)
    name = rng.choice(_svn_fields(quote))
    old = bytearray(getattr(quote.body, name))
    for _ in range(rng.randint(1, 3)):
        old[rng.choice((0, 0, 1, 1, 2, rng.randrange(16)))] = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 255))
    changed: dict[str, Any] = {name: bytes(old)}
    return maker.signed(replace(quote, body=replace(quote.body, **changed)))


def _svn_fields(quote: Quote) -> list[str]:
    return [each.name for each in fields(quote.body) if each.name in {"cpusvn", "tee_tcb_svn", "tee_tcb_svn2"}]


@parsed
def quoting_enclave(rng: Random, quote: Quote, maker: Maker | None) -> Quote:
    """A field of the QE report, certified again."""
    changed = replace(quote, qe_report=_with_field(rng, quote.qe_report))
    return changed if maker is None else maker.certified(changed)


@parsed
def rebound(rng: Random, quote: Quote, maker: Maker | None) -> Quote:
    """Another attestation key or other authentication data, bound again or not."""
    if maker is None:
        return replace(quote, auth=bytewise.mutate(rng, quote.auth)[:999])
    if rng.random() < 0.5:
        changed = replace(quote, auth=bytewise.mutate(rng, quote.auth)[:999])
    else:
        changed = maker.signed(replace(quote, attestation_key=point(maker.other_key)), maker.other_key)
    return maker.bound(changed) if rng.random() < 0.7 else changed


@parsed
def report_data_tail(rng: Random, quote: Quote, maker: Maker | None) -> Quote:
    """The half of the QE's report data that must be zero, certified again."""
    data = quote.qe_report.report_data
    changed = replace(quote, qe_report=replace(quote.qe_report, report_data=data[:32] + bytewise.flip(rng, data[32:])))
    return changed if maker is None else maker.certified(changed)


@parsed
def other_version(rng: Random, quote: Quote, maker: Maker | None) -> Quote:
    """The same body under another version of the format, signed again."""
    version = rng.choice((3, 4, 5, 0, 2, 6, 0xFFFF))
    changed = replace(quote, header=replace(quote.header, version=version), padding=0)
    return changed if maker is None else maker.signed(changed)


@parsed
def other_padding(rng: Random, quote: Quote, _maker: Maker | None) -> Quote:
    """Zero bytes at the end."""
    return replace(quote, padding=rng.choice((0, 1, 2, 64, 1000)))


@parsed
def chain_text(rng: Random, quote: Quote, _maker: Maker | None) -> Quote:
    """The text of the PCK chain: its blocks and what is around them."""
    blocks = _BLOCK.findall(quote.certification) or [quote.certification]
    pick = rng.choice(blocks)
    text = rng.choice(
        (
            b"".join(blocks[1:]),
            b"".join(blocks[:-1]),
            b"".join([*blocks, pick]),
            b"".join(rng.sample(blocks, len(blocks))),
            quote.certification.replace(b"\n", b"\r\n"),
            quote.certification.replace(b"\n", b"", rng.randint(1, 3)),
            quote.certification + rng.choice((b"\0", b"\n", b"\0\0", b" ", b"junk")),
            b"junk\n" + quote.certification,
            pick.join((b"", quote.certification)),
            quote.certification.replace(pick, b"comment: x\n" + pick),
            quote.certification.replace(b"CERTIFICATE", b"X509 CERTIFICATE"),
            bytewise.mutate(rng, quote.certification),
        )
    )
    return replace(quote, certification=text)


@parsed
def chain_reissued(rng: Random, quote: Quote, maker: Maker | None) -> Quote:
    """A certificate of the chain that its authority made with something else in it."""
    if maker is None:
        return replace(quote, certification=bytewise.flip(rng, quote.certification))
    return replace(quote, certification=reissue_chain(rng, quote.certification, maker))


@parsed
def foreign_signature(rng: Random, quote: Quote, maker: Maker | None) -> Quote:
    """Signatures by the wrong key, zero, exchanged, or with s replaced by n - s."""
    zero = bytes(64)
    choices: list[dict[str, Any]] = [
        {"signature": zero}, {"qe_report_signature": zero}, {"signature": b"\xff" * 64},
        {"signature": quote.qe_report_signature, "qe_report_signature": quote.signature},
        {"signature": other_half(quote.signature)}, {"qe_report_signature": other_half(quote.qe_report_signature)},
        {"attestation_key": zero}, {"attestation_key": b"\xff" * 64},
    ]  # fmt: skip
    changed = replace(quote, **rng.choice(choices))
    if maker is not None and rng.random() < 0.3:
        return maker.signed(quote, maker.pck_key)
    return changed


_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (FIPS 186-4 D.1.2.3)


def other_half(signature: bytes) -> bytes:
    """The second valid signature that every ECDSA signature has: quotes are malleable."""
    s = (_ORDER - int.from_bytes(signature[32:], "big")) % _ORDER
    return signature[:32] + s.to_bytes(32, "big")


def _changed(rng: Random, quote: Quote) -> Quote:
    part = rng.choice(("header", "body", "qe_report"))
    return replace(quote, **{part: _with_field(rng, getattr(quote, part))})


def _with_field(rng: Random, structure: Any) -> Any:  # noqa: ANN401  # any structure, the same back
    name = rng.choice([each.name for each in fields(structure)])
    return replace(structure, **{name: _value(rng, getattr(structure, name))})


def _value(rng: Random, value: Any) -> Any:  # noqa: ANN401  # of any field
    if isinstance(value, Structure):
        return _with_field(rng, value)
    if isinstance(value, int):
        return rng.choice((value ^ 1 << rng.randrange(16), 0, 1, value + 1, abs(value - 1), 0xFF, 0xFFFF))
    return rng.choice((bytewise.flip(rng, value), bytes(len(value)), b"\xff" * len(value), rng.randbytes(len(value))))


QUOTE_MUTATORS: Final = (
    any_bytes, any_bytes, head_bytes, lengths, field_unsigned, field_signed, attributes_signed, svns_signed,
    quoting_enclave, rebound, report_data_tail, other_version, other_padding, chain_text, chain_reissued,
    chain_reissued, foreign_signature,
)  # fmt: skip
