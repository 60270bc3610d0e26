"""A second, independent reader of hostile bytes: the dcap-qvl library on the same quote, collateral, root and time.

It has no policy of ours and cannot accept debug enclaves, so it is asked only about evidence that our own verifier
accepted and that is not debug; for debug evidence there is no second opinion, and the result says so.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import dcap_qvl

from adyton.attestation.collateral import Collateral
from adyton.attestation.errors import AttestationError, Finding, Outcome
from adyton.attestation.evidence import VerifiedEvidence

SECOND_OPINION = "attestation.second_opinion"


def second_opinion(quote: bytes, collateral: Collateral, evidence: VerifiedEvidence, now: datetime) -> Finding | None:
    """Have the same quote verified by dcap-qvl, and require that it sees what we saw.

    Args:
        quote: the bytes that ``evidence`` was made of.
        collateral: as ``evidence`` was judged by.
        evidence: our result, whose root certificate was checked against the policy's anchors.
        now: the time of verification.

    Returns:
        The passed check; None for debug evidence, which dcap-qvl cannot judge.

    Raises:
        AttestationError: ``attestation.second_opinion``: it refuses, or sees another status, advisories or enclave.
    """
    if evidence.debug:
        return None
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
        report = dcap_qvl.verify_with_root_ca(quote, copy, evidence.root_der, int(now.timestamp()))
        body = _body(json.loads(report.to_json()))
    except (ValueError, KeyError, TypeError) as error:
        raise AttestationError(f"the second verifier refuses the quote: {error}", code=SECOND_OPINION) from error
    theirs = {"status": report.status, "advisories": sorted(report.advisory_ids), **body}
    ours = {
        "status": evidence.status.value,
        "advisories": sorted(evidence.advisories),
        "mr_enclave": evidence.mrenclave.hex(),
        "mr_signer": evidence.mrsigner.hex(),
        "report_data": evidence.report_data.hex(),
    }
    if theirs != ours:
        differing = sorted(name for name in ours if ours[name] != theirs[name])
        raise AttestationError(f"two verifiers differ about {', '.join(differing)}", code=SECOND_OPINION)
    return Finding(SECOND_OPINION, Outcome.PASSED)


def _body(document: dict[str, Any]) -> dict[str, str]:
    report = document["report"]["SgxEnclave"]
    return {name: str(report[name]).lower() for name in ("mr_enclave", "mr_signer", "report_data")}
