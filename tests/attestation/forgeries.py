"""Forgeries of evidence, each with a verifier of a few lines that leaves out one step and so accepts it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from fuzz.specimen import NOW, Maker, enclave_body, point

from adyton.attestation import chain
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.judge import read_pck
from adyton.attestation.formats.quote import Quote
from adyton.attestation.verdict import EvidenceKind
from adyton.base.secret import Secret
from adyton.platform.simulated import pki
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN
from adyton.platform.simulated.derive import derive_p256, sign_raw

MINE = derive_p256(Secret(b"the forger's seed of 32 bytes..."), "forger")
EVIL_ENCLAVE, EVIL_TD = b"\xee" * 32, b"\xee" * 48
Naive = Callable[[Quote, Collateral], bool]


def signed_by(key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    return chain.verify_raw(key, signature, message)


# What every naive verifier checks rightly: the links that hold in any self-consistent quote.


def certificates(quote: Quote) -> list[x509.Certificate]:
    return chain.parse_chain(quote.certification, 3, "the PCK chain")


def chain_holds(quote: Quote) -> bool:
    leaf, ca, root = certificates(quote)
    leaf.verify_directly_issued_by(ca)
    ca.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)  # made by itself: by whomever
    return True


def qe_report_is_signed(quote: Quote) -> bool:
    key = certificates(quote)[0].public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return signed_by(key, quote.qe_report_signature, quote.qe_report.to_bytes())


def key_is_bound(quote: Quote) -> bool:
    return quote.qe_report.report_data[:32] == hashlib.sha256(quote.attestation_key + quote.auth).digest()


def body_is_signed(quote: Quote) -> bool:
    key = chain.point_key(quote.attestation_key)
    return key is not None and signed_by(key, quote.signature, quote.signed_bytes)


def tcb_info_is_signed(collateral: Collateral) -> bool:
    key = chain.parse_chain(collateral.tcb_info_issuer_chain.encode(), 2, "chain")[0].public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return signed_by(key, collateral.tcb_info_signature, collateral.tcb_info.encode())


def revoked(collateral: Collateral, serial: int) -> bool:
    crl = x509.load_der_x509_crl(collateral.pck_crl)
    return crl.get_revoked_certificate_by_serial_number(serial) is not None


def reattested(quote: Quote) -> Quote:
    """The forger's program, signed with the forger's own attestation key; everything else stays."""
    change = {"mrtd": EVIL_TD} if quote.kind is EvidenceKind.TDX else {"mrenclave": EVIL_ENCLAVE}
    body = replace(quote.body, **change)
    changed = replace(quote, body=body, attestation_key=point(MINE))
    return replace(changed, signature=sign_raw(MINE, changed.signed_bytes))


@dataclass(frozen=True)
class Forgery:
    """A forgery, what accepts it, and the checks of ours that it fails."""

    quote: Quote
    collateral: Collateral
    naive: Naive
    checks: frozenset[str]


def unsigned_qe_report(maker: Maker) -> Forgery:
    """The binding is made anew, in a QE report that nobody signed."""
    quote = reattested(maker.quote(enclave_body()))
    binding = hashlib.sha256(quote.attestation_key + quote.auth).digest() + bytes(32)
    return Forgery(
        replace(quote, qe_report=replace(quote.qe_report, report_data=binding)),
        maker.collateral(),
        lambda q, _c: chain_holds(q) and key_is_bound(q) and body_is_signed(q),
        frozenset({"attestation.qe.signature"}),
    )


def self_signed_qe_report(maker: Maker) -> Forgery:
    """The QE report is signed by the attestation key itself, which it is to vouch for."""
    quote = unsigned_qe_report(maker).quote
    forged = replace(quote, qe_report_signature=sign_raw(MINE, quote.qe_report.to_bytes()))

    def naive(q: Quote, _c: Collateral) -> bool:
        key = chain.point_key(q.attestation_key)
        return key is not None and signed_by(key, q.qe_report_signature, q.qe_report.to_bytes()) and key_is_bound(q)

    return Forgery(forged, maker.collateral(), naive, frozenset({"attestation.qe.signature"}))


def pck_of_ones_own(maker: Maker) -> Forgery:
    """A PCK certificate that the forger made out of the genuine one, with its names and serial."""
    genuine = read_pck(maker.quote(enclave_body()))
    leaf = genuine.chain[0]
    builder = x509.CertificateBuilder(
        leaf.issuer, leaf.subject, MINE.public_key(), leaf.serial_number,
        leaf.not_valid_before_utc.replace(tzinfo=None), leaf.not_valid_after_utc.replace(tzinfo=None),
    )  # fmt: skip
    for extension in leaf.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    own = builder.sign(MINE, SHA256()).public_bytes(Encoding.PEM)
    rest = b"".join(each.public_bytes(Encoding.PEM) for each in genuine.chain[1:])
    quote = replace(reattested(maker.quote(enclave_body())), certification=own + rest)
    bound = maker.bound(quote)
    forged = replace(bound, qe_report_signature=sign_raw(MINE, bound.qe_report.to_bytes()))

    def naive(q: Quote, _c: Collateral) -> bool:
        leaf, ca, root = certificates(q)
        return (
            leaf.issuer == ca.subject
            and ca.issuer == root.subject
            and qe_report_is_signed(q)
            and key_is_bound(q)
            and body_is_signed(q)
        )

    return Forgery(forged, maker.collateral(), naive, frozenset({"attestation.chain.path"}))


def leaf_as_authority(maker: Maker) -> Forgery:
    """The genuine PCK key issues a certificate: an end entity that plays an authority."""
    genuine = read_pck(maker.quote(enclave_body()))
    pck, _ca, root = genuine.chain
    builder = x509.CertificateBuilder(
        pck.subject, pck.subject, MINE.public_key(), 4711,
        pck.not_valid_before_utc.replace(tzinfo=None), pck.not_valid_after_utc.replace(tzinfo=None),
    )  # fmt: skip
    for extension in pck.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    own = builder.sign(maker.pck_key, SHA256())
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in (own, pck, root))
    bound = maker.bound(replace(reattested(maker.quote(enclave_body())), certification=pem))
    forged = replace(bound, qe_report_signature=sign_raw(MINE, bound.qe_report.to_bytes()))

    def naive(q: Quote, _c: Collateral) -> bool:
        leaf, parent, _root = certificates(q)
        leaf.verify_directly_issued_by(parent)  # that the parent is no authority is not looked at
        return qe_report_is_signed(q) and key_is_bound(q) and body_is_signed(q)

    return Forgery(forged, maker.collateral(), naive, frozenset({"attestation.chain.pck"}))


def old_tcb(_maker: Maker) -> Forgery:
    """A PCK certificate of an old TCB level; the report's opaque CPUSVN still reads like the newest one."""
    behind = Maker("a machine without microcode updates")
    start = datetime(NOW.year, 1, 1, tzinfo=UTC)
    behind.chain = behind.vendor.certify(behind.pck_key.public_key(), bytes(16), bytes(16), start)

    def naive(q: Quote, c: Collateral) -> bool:
        newest = json.loads(c.tcb_info)["tcbLevels"][0]
        reached = all(
            have >= component["svn"]
            for have, component in zip(q.enclave.cpusvn, newest["tcb"]["sgxtcbcomponents"], strict=True)
        )
        return reached and newest["tcbStatus"] == "UpToDate" and chain_holds(q) and tcb_info_is_signed(c)

    quote = behind.quote(enclave_body())
    assert quote.enclave.cpusvn == DEFAULT_CPUSVN
    return Forgery(quote, behind.collateral(), naive, frozenset({"attestation.tcb.status"}))


def revoked_pck(_maker: Maker) -> Forgery:
    """A revoked PCK certificate, where the list is asked about its authority."""
    forger = Maker("a machine whose keys were stolen")
    quote = forger.quote(enclave_body(EVIL_ENCLAVE))
    serial = read_pck(quote).chain[0].serial_number
    forger.vendor.catalogue = replace(forger.catalogue, revoked_pcks=frozenset({serial}))

    def naive(q: Quote, c: Collateral) -> bool:
        return chain_holds(q) and tcb_info_is_signed(c) and not revoked(c, read_pck(q).chain[1].serial_number)

    return Forgery(quote, forger.collateral(), naive, frozenset({"attestation.crl.revoked"}))


def list_of_another_authority(_maker: Maker) -> Forgery:
    """A revoked PCK certificate, with the genuine list of another authority below the same root."""
    source = revoked_pck(_maker)
    forger = Maker("a machine whose keys were stolen")
    other = forger.vendor._authority("PCK Processor CA", forger.vendor._root, path_length=0)
    listed = pki._crl(other, NOW - timedelta(days=1), frozenset())
    pem = other.certificate.public_bytes(Encoding.PEM) + forger.vendor._root.certificate.public_bytes(Encoding.PEM)
    collateral = replace(source.collateral, pck_crl=listed, pck_crl_issuer_chain=pem.decode())

    def naive(q: Quote, c: Collateral) -> bool:
        issuer, root = chain.parse_chain(c.pck_crl_issuer_chain.encode(), 2, "chain")
        issuer.verify_directly_issued_by(root)
        chain.check_crl(x509.load_der_x509_crl(c.pck_crl), issuer, "CRL")  # genuine, but of whom?
        return chain_holds(q) and not revoked(c, read_pck(q).chain[0].serial_number)

    return Forgery(source.quote, collateral, naive, frozenset({"attestation.chain.path", "attestation.crl.signature"}))


def documents_of_another_platform(maker: Maker) -> Forgery:
    """Genuine TCB info of another kind of platform, whose levels ask for less."""
    good = maker.collateral()
    info = good.tcb_info.replace(json.loads(good.tcb_info)["fmspc"], "00906ED50000")
    collateral = maker.documented(replace(good, tcb_info=info))
    quote = maker.quote(enclave_body())
    return Forgery(
        quote,
        collateral,
        lambda q, c: chain_holds(q) and tcb_info_is_signed(c) and body_is_signed(q),
        frozenset({"attestation.tcb.platform"}),
    )


def rewritten_documents(maker: Maker) -> Forgery:
    """Names that occur twice: gone when the document is read and written again, decisive for who reads the first."""
    good = maker.collateral()
    forged = good.tcb_info.replace('"tcbLevels":', '"tcbLevels":[{"tcb":{},"tcbStatus":"UpToDate"}],"tcbLevels":', 1)

    def naive(_q: Quote, c: Collateral) -> bool:
        written_again = json.dumps(json.loads(c.tcb_info), separators=(",", ":"))
        return tcb_info_is_signed(replace(c, tcb_info=written_again))

    return Forgery(
        maker.quote(enclave_body()),
        replace(good, tcb_info=forged),
        naive,
        frozenset({"attestation.collateral.format"}),
    )


def respaced_documents(maker: Maker) -> Forgery:
    """The same document in other white space: harmless to read, but not what was signed."""
    good = maker.collateral()

    def naive(_q: Quote, c: Collateral) -> bool:
        return tcb_info_is_signed(replace(c, tcb_info=json.dumps(json.loads(c.tcb_info), separators=(",", ":"))))

    forged = json.dumps(json.loads(good.tcb_info), indent=1)
    return Forgery(
        maker.quote(enclave_body()), replace(good, tcb_info=forged), naive, frozenset({"attestation.tcb.signature"})
    )


def pck_as_tcb_signer(maker: Maker) -> Forgery:
    """TCB info signed by a PCK key: any machine below the root could judge itself."""
    good = maker.collateral()
    leaf, _ca, root = read_pck(maker.quote(enclave_body())).chain
    info = good.tcb_info.replace('"OutOfDate"', '"UpToDate"')
    collateral = replace(
        good,
        tcb_info=info,
        tcb_info_issuer_chain=(leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM)).decode(),
        tcb_info_signature=sign_raw(maker.pck_key, info.encode()),
    )

    def naive(q: Quote, c: Collateral) -> bool:
        signer = chain.parse_chain(c.tcb_info_issuer_chain.encode(), 2, "chain")[0]
        under_the_root = chain_holds(q) and signer == read_pck(q).chain[0]
        return under_the_root and tcb_info_is_signed(c)

    return Forgery(maker.quote(enclave_body()), collateral, naive, frozenset({"attestation.chain.path"}))


def another_enclave_as_qe(maker: Maker) -> Forgery:
    """An enclave of the forger's own plays the quoting enclave."""
    quote = reattested(maker.quote(enclave_body()))
    forged = maker.bound(replace(quote, qe_report=replace(quote.qe_report, mrsigner=b"\xee" * 32)))

    def naive(q: Quote, _c: Collateral) -> bool:
        return chain_holds(q) and qe_report_is_signed(q) and key_is_bound(q) and body_is_signed(q)

    return Forgery(forged, maker.collateral(), naive, frozenset({"attestation.qe.identity"}))


def debug_qe(maker: Maker) -> Forgery:
    """The genuine quoting enclave started in debug mode: its host reads the attestation key."""
    quote = maker.quote(enclave_body(EVIL_ENCLAVE))
    attributes = replace(quote.qe_report.attributes, flags=quote.qe_report.attributes.flags | 2)
    forged = maker.certified(replace(quote, qe_report=replace(quote.qe_report, attributes=attributes)))

    def naive(q: Quote, c: Collateral) -> bool:
        right = q.qe_report.mrsigner.hex() == json.loads(c.qe_identity)["mrsigner"].lower()
        return right and chain_holds(q) and qe_report_is_signed(q) and key_is_bound(q) and body_is_signed(q)

    return Forgery(forged, maker.collateral(), naive, frozenset({"attestation.qe.identity"}))


FORGERIES = (
    unsigned_qe_report, self_signed_qe_report, pck_of_ones_own, leaf_as_authority, old_tcb, revoked_pck,
    list_of_another_authority, documents_of_another_platform, rewritten_documents, respaced_documents,
    pck_as_tcb_signer, another_enclave_as_qe, debug_qe,
)  # fmt: skip
