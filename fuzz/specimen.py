"""What mutants are made of: one vendor and one platform of which every key is at hand, and evidence made with them.

Whatever a mutator changes can be signed again here, so that mutants reach the checks behind the signatures. All bytes
follow from a name, the same in every run.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.judge import read_pck
from adyton.attestation.formats.quote import Body, CertificationType, Quote, QuoteHeader, TeeType, parse_quote
from adyton.attestation.formats.sgx import Attributes, Flag, ReportBody
from adyton.attestation.formats.tdx import XFAM_FIXED1, TdFlag, TdReport, TdReport15
from adyton.attestation.verdict import EvidenceKind
from adyton.base.secret import Secret
from adyton.enclave.sigstruct import new_signer
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN
from adyton.platform.simulated.derive import derive_p256, sign_raw
from adyton.platform.simulated.documents import (
    DEFAULT_TEE_TCB_SVN,
    QE_ISVPRODID,
    QE_ISVSVN,
    TD_QE_ISVPRODID,
    TD_QE_ISVSVN,
    Catalogue,
)
from adyton.platform.simulated.pki import SimulatedVendor

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
REAL_EVIDENCE = Path(__file__).resolve().parents[2] / "shared" / "evidence"
_AUTH = bytes(range(32))


def _digest(label: str, size: int = 32) -> bytes:
    return hashlib.shake_256(label.encode()).digest(size)


@lru_cache(maxsize=1)
def _unused_signer() -> rsa.RSAPrivateKey:
    """A vendor needs one; no byte of what is made here depends on it, since the catalogue names the QE's signer."""
    return new_signer()


class Maker:
    """A vendor and a platform.

    Args:
        name: all keys follow from it.
        catalogue: what the vendor says; its ``qe_mrsigner`` is set here.
    """

    def __init__(self, name: str = "fuzz", catalogue: Catalogue | None = None) -> None:
        seed = Secret(_digest(f"{name}/seed"))
        self.qe_mrsigner = _digest("qe-mrsigner")
        self.catalogue = replace(catalogue or Catalogue(), qe_mrsigner=self.qe_mrsigner)
        self.vendor = SimulatedVendor(seed, _unused_signer(), self.catalogue)
        self.attestation_key = derive_p256(seed, "fuzz/attestation")
        self.pck_key = derive_p256(seed, "fuzz/pck")
        self.other_key = derive_p256(seed, "fuzz/other")
        self.tcb_key = self.vendor._key("TCB Signing")
        self.ca_key = self.vendor._platform_ca.key
        self.root_key = self.vendor._root.key
        start = datetime(NOW.year, 1, 1, tzinfo=UTC)
        ppid = _digest(f"{name}/ppid", 16)
        self.chain = self.vendor.certify(self.pck_key.public_key(), ppid, DEFAULT_CPUSVN, start)

    def collateral(self, kind: EvidenceKind = EvidenceKind.SGX) -> Collateral:
        """What the vendor publishes."""
        return self.vendor.collateral(NOW, kind)

    def quote(self, body: Body, version: int = 3) -> Quote:
        """A genuine quote of ``body``, with all signatures."""
        tdx = not isinstance(body, ReportBody)
        qe = enclave_body(mrenclave=_digest("qe"), mrsigner=self.qe_mrsigner)
        prodid, svn = (TD_QE_ISVPRODID, TD_QE_ISVSVN) if tdx else (QE_ISVPRODID, QE_ISVSVN)
        quote = Quote(
            header=QuoteHeader(version=version, tee_type=TeeType.TDX if tdx else TeeType.SGX, user_data=bytes(20)),
            body=body,
            signature=bytes(64),
            attestation_key=point(self.attestation_key),
            qe_report=replace(qe, isvprodid=prodid, isvsvn=svn),
            qe_report_signature=bytes(64),
            auth=_AUTH,
            certification_type=CertificationType.PCK_CHAIN,
            certification=self.chain,
        )
        return self.signed(self.bound(quote))

    def signed(self, quote: Quote, key: ec.EllipticCurvePrivateKey | None = None) -> Quote:
        """Header and body signed again, by the attestation key or another one."""
        return replace(quote, signature=sign_raw(key or self.attestation_key, quote.signed_bytes))

    def bound(self, quote: Quote) -> Quote:
        """The attestation key bound again by a QE report under the PCK key."""
        binding = hashlib.sha256(quote.attestation_key + quote.auth).digest() + bytes(32)
        return self.certified(replace(quote, qe_report=replace(quote.qe_report, report_data=binding)))

    def certified(self, quote: Quote) -> Quote:
        """The QE report, as it is, signed again by the PCK key."""
        return replace(quote, qe_report_signature=sign_raw(self.pck_key, quote.qe_report.to_bytes()))

    def documented(self, collateral: Collateral) -> Collateral:
        """The documents, as they are, signed again by the TCB signing key."""
        return replace(
            collateral,
            tcb_info_signature=sign_raw(self.tcb_key, collateral.tcb_info.encode("utf-8", "surrogatepass")),
            qe_identity_signature=sign_raw(self.tcb_key, collateral.qe_identity.encode("utf-8", "surrogatepass")),
        )


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key as x||y."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def enclave_body(mrenclave: bytes = _digest("mrenclave"), mrsigner: bytes = _digest("mrsigner")) -> ReportBody:
    """The report body of a production enclave."""
    return ReportBody(
        cpusvn=DEFAULT_CPUSVN,
        attributes=Attributes(Flag.INIT | Flag.MODE64BIT),
        mrenclave=mrenclave,
        mrsigner=mrsigner,
        isvprodid=3,
        isvsvn=4,
        report_data=_digest("report data", 64),
    )


def td_body(mrtd: bytes = _digest("mrtd", 48)) -> TdReport:
    """The report of a production TD, TDX 1.0."""
    return TdReport(
        tee_tcb_svn=DEFAULT_TEE_TCB_SVN,
        mrseam=_digest("mrseam", 48),
        mrsignerseam=bytes(48),
        seam_attributes=0,
        td_attributes=TdFlag.SEPT_VE_DISABLE,
        xfam=XFAM_FIXED1,
        mrtd=mrtd,
        mrconfigid=bytes(48),
        mrowner=bytes(48),
        mrownerconfig=bytes(48),
        rtmr0=_digest("rtmr0", 48),
        rtmr1=_digest("rtmr1", 48),
        rtmr2=_digest("rtmr2", 48),
        rtmr3=bytes(48),
        report_data=_digest("report data", 64),
    )


def td15_body() -> TdReport15:
    """The report of a production TD, TDX 1.5."""
    old = td_body()
    values = {field.name: getattr(old, field.name) for field in fields(TdReport)}
    return TdReport15(**values, tee_tcb_svn2=DEFAULT_TEE_TCB_SVN, mrservicetd=bytes(48))


@dataclass(frozen=True, slots=True)
class Specimen:
    """Evidence with all that it is judged by.

    Attributes:
        name: of what it was made.
        root: DER of the root that is trusted.
        maker: who can sign again; None for evidence of real hardware.
        trail: the mutators that it went through.
    """

    name: str
    quote: bytes
    collateral: Collateral
    root: bytes
    now: datetime
    maker: Maker | None = None
    trail: tuple[str, ...] = ()

    @property
    def anchor(self) -> TrustAnchor:
        """The trusted root as a policy names it."""
        return TrustAnchor("intel") if self.maker is None else TrustAnchor.simulated_root(self.root)

    def to_json(self) -> str:
        """All of it, for a later look."""
        return json.dumps(
            {
                "name": self.name,
                "trail": self.trail,
                "quote": self.quote.hex(),
                "collateral": json.loads(self.collateral.to_json()),
                "root": self.root.hex(),
                "now": self.now.isoformat(),
                "simulated": self.maker is not None,
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> Specimen:
        """Read a saved one back; whose specimen it was decides the tier of its root."""
        saved = json.loads(text)
        members: dict[str, Any] = {  # not by Collateral.from_json: a mutant need not be what that accepts
            each.name: bytes.fromhex(value) if each.type == "bytes" else value
            for each in fields(Collateral)
            for value in (saved["collateral"][each.name],)
        }
        return cls(
            saved["name"],
            bytes.fromhex(saved["quote"]),
            Collateral(**members),
            bytes.fromhex(saved["root"]),
            datetime.fromisoformat(saved["now"]),
            Maker() if saved["simulated"] else None,
            tuple(saved["trail"]),
        )


def simulated() -> tuple[Specimen, ...]:
    """Genuine evidence of every kind and version."""
    maker = Maker()
    bodies: tuple[tuple[str, Body, int], ...] = (
        ("SGX v3", enclave_body(), 3),
        ("SGX v4", enclave_body(), 4),
        ("SGX v5", enclave_body(), 5),
        ("TDX v4", td_body(), 4),
        ("TDX v5 TD10", td_body(), 5),
        ("TDX v5 TD15", td15_body(), 5),
    )
    return tuple(
        Specimen(
            name,
            maker.quote(body, version).to_bytes(),
            maker.collateral(EvidenceKind.SGX if isinstance(body, ReportBody) else EvidenceKind.TDX),
            maker.vendor.root_der,
            NOW,
            maker,
        )
        for name, body, version in bodies
    )


def real(folder: Path = REAL_EVIDENCE) -> tuple[Specimen, ...]:
    """Evidence of real hardware within its window; none where the folder is absent."""
    found = []
    for name in ("sgx_quote", "tdx_quote"):
        if (folder / name).is_file():
            quote = (folder / name).read_bytes()
            collateral = Collateral.from_json((folder / f"{name}_collateral.json").read_bytes())
            start = max(
                datetime.strptime(json.loads(text)["issueDate"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
                for text in (collateral.tcb_info, collateral.qe_identity)
            )
            root = read_pck(parse_quote(quote)).root_der
            found.append(Specimen(f"real {name}", quote, collateral, root, start + timedelta(days=3)))
    return tuple(found)
