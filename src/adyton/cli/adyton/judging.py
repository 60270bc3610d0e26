"""From what a person gives on the command line to a judgement: reads files, finds collateral, asks the judge."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from adyton.attestation.appraise import appraise, claimed_tier
from adyton.attestation.collateral.bundle import MAX_BUNDLE_BYTES
from adyton.attestation.collateral.cache import CollateralFolder
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.envelope import MAX_ENVELOPE_BYTES, Envelope, open_envelope
from adyton.attestation.errors import AttestationError
from adyton.attestation.material import Material, QuotePlatform, key_service, read_material
from adyton.attestation.policyfile import MAX_POLICY_BYTES, Acceptance, default_acceptance, read_policy
from adyton.attestation.verdict import EvidenceKind
from adyton.base.clock import utc_now
from adyton.cli.adyton.fetching import fetch, service_for, store_folder
from adyton.cli.adyton.inputs import parse_time, read_input
from adyton.cli.adyton.verdict_report import Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The command line of ``adyton evidence verify``."""

    file: Path
    collateral: tuple[Path, ...] = ()
    policy: Path | None = None
    anchors: tuple[str, ...] = ()
    at: str | None = None
    pccs: str | None = None
    offline: bool = False
    store: Path | None = None
    state: Path | None = None


def answer(question: Question) -> Judgement:
    """Judge what a person gave.

    Raises:
        AdytonError: a file or value that cannot be used, evidence that cannot be found in the file, or no collateral.
    """
    at = utc_now().replace(microsecond=0) if question.at is None else parse_time(question.at)
    acceptance = _acceptance(question)
    envelope = open_envelope(read_input(question.file, MAX_ENVELOPE_BYTES, "the evidence"))
    material, sources = _material(question, envelope, at)
    verdict = appraise(envelope, material, acceptance, at)
    return Judgement(
        verdict=verdict,
        form=envelope.form,
        at=at,
        asked_for=question.at is not None,
        names_a_program=acceptance.names_a_program,
        tier=claimed_tier(envelope, material),
        sources=sources,
    )


def _acceptance(question: Question) -> Acceptance:
    if question.policy is None:
        return default_acceptance(question.anchors)
    return read_policy(read_input(question.policy, MAX_POLICY_BYTES, "the policy"), anchors=question.anchors)


def _material(question: Question, envelope: Envelope, at: datetime) -> tuple[Material, tuple[str, ...]]:
    """What to judge with, and where it came from in words."""
    if question.collateral:
        return _given(question, envelope.kind), tuple(str(path) for path in question.collateral)
    if envelope.kind is EvidenceKind.NITRO:
        return Material(), ()
    if envelope.kind is EvidenceKind.SNP:
        raise AttestationError(
            "an SEV-SNP report is judged with the certificates of its chip; none is given",
            code="attestation.collateral.absent",
            hint="give each file with --collateral: " + "; or ".join(key_service(envelope.evidence)),
        )
    return _found(question, QuotePlatform.of(envelope.evidence), at)


def _found(question: Question, wanted: QuotePlatform, at: datetime) -> tuple[Material, tuple[str, ...]]:
    """Collateral from the store, as long as it holds; else from a service; else what the store has, to be refused."""
    folder = store_folder(question.store)
    kept = CollateralFolder(folder).load(wanted.platform)
    if kept is not None and _holds(kept, at):
        return Material(collateral=(kept,)), (f"the store {folder}",)
    try:
        url = service_for(
            wanted.platform, wanted.tier, pccs=question.pccs, offline=question.offline, state=question.state
        )
        return Material(collateral=(fetch(url, wanted.platform),)), (url,)
    except AttestationError:
        if kept is None:
            raise
        return Material(collateral=(kept,)), (f"the store {folder}, where it is no longer valid",)


def _holds(collateral: Collateral, at: datetime) -> bool:
    try:
        start, end = collateral.window()
    except AttestationError:
        return False
    return start <= at <= end


def _given(question: Question, kind: EvidenceKind) -> Material:
    """The files of ``--collateral``, which must be of the kind that the evidence is judged with."""
    if kind is EvidenceKind.NITRO:
        raise _other_kind("a Nitro document brings its certificates with it", "leave --collateral out")
    material = Material()
    for path in question.collateral:
        try:
            material += read_material(read_input(path, MAX_BUNDLE_BYTES, "the collateral"))
        except AttestationError as error:
            raise AttestationError(f"{path}: {error.message}", code=error.code, hint=error.hint) from error
    if kind is EvidenceKind.SNP and not material.certificates:
        raise _other_kind(
            "it holds no certificates, with which an SEV-SNP report is judged", "give VCEK or VLEK, ASK and ARK"
        )
    if kind is not EvidenceKind.SNP and not material.collateral:
        raise _other_kind(
            f"it holds only certificates; {kind.value.upper()} evidence is judged with collateral in JSON",
            "make such a file with: adyton collateral export --quote FILE --out FILE",
        )
    return material


def _other_kind(message: str, hint: str) -> AttestationError:
    return AttestationError(
        f"--collateral is of another technology: {message}", code="attestation.collateral.other", hint=hint
    )
