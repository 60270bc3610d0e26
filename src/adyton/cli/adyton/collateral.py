"""``adyton collateral``: what vendors publish for judging evidence, carried to hosts without a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from adyton.base.errors import InputError
from adyton.cli.adyton.inputs import STDIN_ALLOWED, quiet
from adyton.cli.adyton.options import State

if TYPE_CHECKING:
    from datetime import datetime

    from adyton.attestation.anchors import TrustAnchor
    from adyton.attestation.collateral.bundle import ImportedEntry
    from adyton.attestation.collateral.documents import Collateral, PlatformId
    from adyton.attestation.material import QuotePlatform

_ABOUT = """
Judging evidence needs collateral: which platforms their vendor considers healthy, and which keys it revoked. It holds
for about 30 days. For a host that cannot fetch it:

    adyton collateral export --quote quote.bin --out bundle.json   # connected
    adyton collateral import bundle.json                           # air-gapped
    adyton evidence verify quote.bin --offline
"""

app = App(name="collateral", help="Carry what judging needs to hosts without a network.", help_epilogue=_ABOUT)

Store = Annotated[
    Path | None,
    Parameter(
        name="--store",
        help="Folder of imported collateral. Default: $ADYTON_COLLATERAL, else ~/.local/share/adyton/collateral.",
    ),
]
Anchors = Annotated[
    list[str] | None,
    Parameter(
        name="--anchor",
        help="A root to accept besides the vendors': sim:FINGERPRINT (proves formats only); may be given again.",
        negative=(),
    ),
]
Json = Annotated[bool, Parameter(name="--json", help="Print one JSON object.", negative=())]

_EXPORT = """Write collateral into one file, after checking that it is genuine and current.

For which platforms: those of --quote (which may be given again, in any form that 'adyton evidence verify' reads), or
those of --fmspc and --ca ('adyton evidence show' prints both). With --store alone: all that this folder holds.

For example:

    adyton collateral export --quote quote.bin --out bundle.json
    adyton collateral export --fmspc 00a067110000 --ca processor --out bundle.json
    adyton collateral export --store /var/lib/cas/collateral --out bundle.json

Exit status: 0 written; 1 not written, the reason is printed; 2 wrong usage.
"""


@app.command(help=_EXPORT)
def export(
    *,
    out: Annotated[Path, Parameter(help="File to write; one that is there is replaced.")],
    quote: Annotated[
        list[Path] | None, Parameter(**STDIN_ALLOWED, help="Evidence of the platform; may be given again.", negative=())
    ] = None,
    fmspc: Annotated[str | None, Parameter(help="The platform's FMSPC: 12 hex digits.")] = None,
    ca: Annotated[
        Literal["processor", "platform"] | None, Parameter(help="Which CA issued the platform's certificate.")
    ] = None,
    kind: Annotated[Literal["sgx", "tdx"], Parameter(help="For quotes of enclaves or of trust domains.")] = "sgx",
    pccs: Annotated[
        str | None, Parameter(help="Certificate service to fetch from. Default: Intel's, or a local network's.")
    ] = None,
    store: Store = None,
    anchor: Anchors = None,
    state: State = None,
) -> None:
    """Write collateral into one file, after checking that it is genuine and current."""
    from adyton.attestation.collateral.bundle import export_bundle, read_folder  # noqa: PLC0415  # heavy
    from adyton.base.files import write_atomic  # noqa: PLC0415
    from adyton.cli.adyton.fetching import store_folder  # noqa: PLC0415

    if (fmspc is None) != (ca is None):
        raise InputError("--fmspc and --ca belong together", code="collateral.export.platform", hint=_WHICH)
    if quote or fmspc:
        found = _fetched(_wanted(quote or [], fmspc, ca, kind), pccs=pccs, state=state)
    elif store is not None:
        found = list(read_folder(store_folder(store)))
    else:
        raise InputError("nothing says for which platforms", code="collateral.export.platform", hint=_WHICH)
    if not found:
        raise InputError(f"{store} holds no collateral", code="collateral.export.empty", hint=_WHICH)
    for each in found:
        _vouched(each, _anchors(anchor))
    try:
        write_atomic(out, export_bundle(found))
    except OSError as error:
        raise InputError(
            f"{out} cannot be written: {(error.strerror or type(error).__name__).lower()}", code="input.file"
        ) from error
    for each in found:
        sys.stderr.write(f"{each.platform}: holds until {_moment(each.window()[1])}\n")
    sys.stdout.write(f"{out}\n")


_WHICH = "name evidence with --quote, or a platform with --fmspc and --ca, or a folder with --store"


def _fetched(wanted: dict[PlatformId, str], *, pccs: str | None, state: Path | None) -> list[Collateral]:
    from adyton.cli.adyton.fetching import fetch, service_for  # noqa: PLC0415

    return [
        fetch(service_for(platform, tier, pccs=pccs, offline=False, state=state), platform)
        for platform, tier in wanted.items()
    ]


def _wanted(quotes: list[Path], fmspc: str | None, ca: str | None, kind: str) -> dict[PlatformId, str]:
    """Platforms, and the tiers of the roots that vouch for them."""
    from adyton.attestation.collateral.documents import PlatformId  # noqa: PLC0415
    from adyton.attestation.dcap.pck import CaKind  # noqa: PLC0415
    from adyton.attestation.verdict import EvidenceKind  # noqa: PLC0415

    wanted = {each.platform: each.tier for each in map(_platform_of, quotes)}
    if fmspc is not None and ca is not None:
        wanted.setdefault(PlatformId(fmspc.lower(), CaKind(ca), EvidenceKind(kind)), "intel")
    return wanted


def _vouched(collateral: Collateral, anchors: tuple[TrustAnchor, ...]) -> None:
    from adyton.attestation.dcap.judge import vouch  # noqa: PLC0415
    from adyton.attestation.errors import AttestationError  # noqa: PLC0415
    from adyton.base.clock import utc_now  # noqa: PLC0415

    try:
        with quiet():
            vouch(collateral, anchors, utc_now())
    except AttestationError as error:
        message = f"the collateral for {collateral.platform} is not exported: {error.message}"
        raise AttestationError(message, code=error.code, hint=error.hint, findings=error.findings) from error


def _platform_of(quote: Path) -> QuotePlatform:
    from adyton.attestation.envelope import MAX_ENVELOPE_BYTES, open_envelope  # noqa: PLC0415
    from adyton.attestation.material import QuotePlatform  # noqa: PLC0415
    from adyton.attestation.verdict import EvidenceKind  # noqa: PLC0415
    from adyton.cli.adyton.inputs import read_input  # noqa: PLC0415

    envelope = open_envelope(read_input(quote, MAX_ENVELOPE_BYTES, "the evidence"))
    if envelope.kind not in {EvidenceKind.SGX, EvidenceKind.TDX}:
        raise InputError(
            f"{quote} is {envelope.kind.value.upper()} evidence, for which there is no collateral of this kind",
            code="attestation.collateral.kind",
            hint="SEV-SNP: keep the certificates of AMD's key distribution service; Nitro documents need nothing",
        )
    return QuotePlatform.of(envelope.evidence)


_IMPORT = """Verify collateral and keep it for 'adyton evidence verify'.

FILE is a bundle of 'adyton collateral export', or collateral in JSON as other tools write it. Taken is what its vendor
signed, what is valid now, and what is not older than what is here; the rest is refused, with the reason.

For example:

    adyton collateral import bundle.json
    adyton collateral import bundle.json --anchor sim:FINGERPRINT

Exit status: 0 all was taken; 1 something was refused; 2 wrong usage.
"""


@app.command(name="import", help=_IMPORT)
def import_(
    file: Annotated[Path, Parameter(**STDIN_ALLOWED, help="The bundle; '-' reads standard input.")],
    *,
    anchor: Anchors = None,
    at: Annotated[
        str | None, Parameter(help="Import as if it were this time: RFC 3339, a date, or Unix seconds. Default: now.")
    ] = None,
    store: Store = None,
    as_json: Json = False,
) -> int:
    """Verify collateral and keep it for 'adyton evidence verify'."""
    from adyton.attestation.collateral.bundle import MAX_BUNDLE_BYTES, Taken, import_bundle  # noqa: PLC0415  # heavy
    from adyton.base.clock import utc_now  # noqa: PLC0415
    from adyton.cli.adyton.fetching import store_folder  # noqa: PLC0415
    from adyton.cli.adyton.inputs import parse_time, read_input  # noqa: PLC0415
    from adyton.cli.adyton.verdict_report import print_json  # noqa: PLC0415

    now = utc_now() if at is None else parse_time(at)
    folder = store_folder(store)
    data = read_input(file, MAX_BUNDLE_BYTES, "the bundle")
    try:
        with quiet():
            report = import_bundle(data, folder, _anchors(anchor), now)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written: {(error.strerror or type(error).__name__).lower()}", code="input.file"
        ) from error
    if as_json:
        print_json({"store": str(folder), "entries": [_entry_json(each) for each in report]})
    else:
        for each in report:
            _tell(each)
    return 1 if any(each.outcome is Taken.REFUSED for each in report) else 0


@app.command(name="list")
def list_(*, store: Store = None, as_json: Json = False) -> None:
    """Show the collateral that is kept here, and for how long each copy still holds."""
    from adyton.attestation.collateral.bundle import read_folder  # noqa: PLC0415  # heavy
    from adyton.base.clock import utc_now  # noqa: PLC0415
    from adyton.cli.adyton.fetching import store_folder  # noqa: PLC0415
    from adyton.cli.adyton.verdict_report import print_json, write_out  # noqa: PLC0415

    folder, now = store_folder(store), utc_now()
    held = sorted(((str(each.platform), each.window()[1]) for each in read_folder(folder)), key=lambda item: item[1])
    if as_json:
        entries = [
            {"platform": name, "valid_until": end.isoformat(), "seconds_left": int((end - now).total_seconds())}
            for name, end in held
        ]
        print_json({"store": str(folder), "entries": entries})
        return
    write_out("".join(f"{name:<30} until {_moment(end)} ({_left(end, now)})\n" for name, end in held))
    if not held:
        sys.stderr.write(f"{folder} holds no collateral; 'adyton collateral import' fills it\n")


def _entry_json(entry: ImportedEntry) -> dict[str, str | None]:
    return {
        "platform": str(entry.platform),
        "outcome": entry.outcome.value,
        "valid_until": None if entry.valid_until is None else entry.valid_until.isoformat(),
        "code": entry.code or None,
        "message": entry.message or None,
        "hint": entry.hint or None,
    }


def _tell(entry: ImportedEntry) -> None:
    from adyton.cli.adyton.verdict_report import safe, write_out  # noqa: PLC0415

    if entry.valid_until is not None:
        write_out(f"{entry.platform!s:<30} {entry.outcome.value}, holds until {_moment(entry.valid_until)}\n")
        return
    write_out(f"{entry.platform!s:<30} REFUSED: {safe(entry.message)} ({entry.code})\n")
    if entry.hint:
        write_out(f"{'':<30} {safe(entry.hint)}\n")


def _anchors(tiers: list[str] | None) -> tuple[TrustAnchor, ...]:
    from adyton.attestation.anchors import INTEL, TrustAnchor  # noqa: PLC0415

    return (INTEL, *(TrustAnchor(tier) for tier in tiers or ()))


def _moment(at: datetime) -> str:
    from adyton.cli.adyton.verdict_report import moment  # noqa: PLC0415

    return moment(at)


def _left(end: datetime, now: datetime) -> str:
    hours = int(abs(end - now).total_seconds() // 3600)
    span = f"{hours // 24} days" if hours >= 48 else f"{hours} hours"
    return f"{span} left" if end >= now else f"EXPIRED {span} ago"
