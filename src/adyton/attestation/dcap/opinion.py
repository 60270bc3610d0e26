"""A second, independent reader of hostile bytes: the dcap-qvl library on the same quote, collateral, root and time.

It has no policy of ours, so it is asked only about evidence that our own verifier accepted. There are quotes that it
refuses whatever they hold, because it has no setting for them; about those it is not asked, and the finding says why.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final, Protocol

import dcap_qvl

from adyton.attestation.checks import SECOND_OPINION
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.tcb import TcbStatus
from adyton.attestation.errors import AttestationError, Finding, Outcome
from adyton.attestation.evidence import is_debug
from adyton.attestation.formats.quote import Body
from adyton.attestation.formats.sgx import ReportBody
from adyton.attestation.formats.tdx import TdReport15


class Judged(Protocol):
    """What our own verifier saw."""

    @property
    def body(self) -> Body:
        """The report of the enclave or TD."""

    @property
    def status(self) -> TcbStatus:
        """The joint TCB status."""

    @property
    def advisories(self) -> tuple[str, ...]:
        """All that apply."""

    @property
    def root_der(self) -> bytes:
        """The root certificate, checked against the policy's anchors."""


def second_opinion(quote: bytes, collateral: Collateral, seen: Judged, now: datetime) -> Finding:
    """Have the same quote verified by dcap-qvl, and require that it sees what we saw.

    Args:
        quote: the bytes that ``seen`` was made of.
        collateral: as ``seen`` was judged by.
        seen: our result, accepted.
        now: the time of verification.

    Returns:
        The passed check, or one that was not asked, with the reason.

    Raises:
        AttestationError: ``attestation.second_opinion``: it refuses, or sees another status, advisories or program.
    """
    reason = _unable(quote, seen.body)
    if reason:
        return Finding(SECOND_OPINION, Outcome.NOT_ASKED, f"dcap-qvl does not judge {reason}")
    copy = dcap_qvl.QuoteCollateralV3(
        collateral.pck_crl_issuer_chain,
        collateral.root_ca_crl,
        collateral.pck_crl,
        collateral.tcb_info_issuer_chain,
        collateral.tcb_info,
        collateral.tcb_info_signature,
        collateral.qe_identity_issuer_chain,
        collateral.qe_identity,
        collateral.qe_identity_signature,
    )
    try:
        report = dcap_qvl.verify_with_root_ca(quote, copy, seen.root_der, int(now.timestamp()))
        theirs = {"status": report.status, "advisories": sorted(report.advisory_ids)}
        theirs |= _measured(json.loads(report.to_json()), seen.body)
    except (ValueError, KeyError, TypeError) as error:
        raise AttestationError(f"the second verifier refuses the quote: {error}", code=SECOND_OPINION) from error
    ours = {"status": seen.status.value, "advisories": sorted(seen.advisories), **_expected(seen.body)}
    if theirs != ours:
        differing = sorted(name for name in ours if ours[name] != theirs[name])
        raise AttestationError(f"two verifiers differ about {', '.join(differing)}", code=SECOND_OPINION)
    return Finding(SECOND_OPINION, Outcome.PASSED, f"dcap-qvl {dcap_qvl.__version__}: {report.status}")


def _unable(quote: bytes, body: Body) -> str:
    """Which quotes are refused there whatever they hold; empty for all others."""
    if is_debug(body):
        return "debug programs"
    if isinstance(body, ReportBody) and int.from_bytes(quote[:2], "little") != 3:
        return "SGX quotes of another version than 3"
    if isinstance(body, TdReport15) and any(body.mrservicetd):
        return "trust domains with service TDs"
    return ""


# Our name to theirs, by the name that they give the report's form.
_ENCLAVE: Final = {"mrenclave": "mr_enclave", "mrsigner": "mr_signer", "report_data": "report_data"}
_TD: Final = {
    "mrtd": "mr_td",
    **{f"rtmr{number}": f"rt_mr{number}" for number in range(4)},
    "mrseam": "mr_seam",
    "mrconfigid": "mr_config_id",
    "mrowner": "mr_owner",
    "mrownerconfig": "mr_owner_config",
    "report_data": "report_data",
}


def _expected(body: Body) -> dict[str, str]:
    names = _ENCLAVE if isinstance(body, ReportBody) else _TD
    return {name: getattr(body, name).hex() for name in names}


def _measured(document: dict[str, Any], body: Body) -> dict[str, str]:
    if isinstance(body, ReportBody):
        report, names = document["report"]["SgxEnclave"], _ENCLAVE
    elif isinstance(body, TdReport15):
        report, names = document["report"]["TD15"], _TD
        report = {**report, **report.get("base", {})}
    else:
        report, names = document["report"]["TD10"], _TD
    return {ours: str(report[theirs]).lower() for ours, theirs in names.items()}
