"""``adyton evidence``: what a piece of evidence says, and what it is worth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from adyton.base.errors import AdytonError
from adyton.cli.adyton.collateral import Store
from adyton.cli.adyton.inputs import STDIN_ALLOWED, quiet
from adyton.cli.adyton.options import State

if TYPE_CHECKING:
    from adyton.cli.adyton.verdict_report import Judgement

app = App(name="evidence", help="Read and judge evidence: SGX, TDX, SEV-SNP and Nitro, real and simulated.")

File = Annotated[
    Path,
    Parameter(
        **STDIN_ALLOWED,
        help="The evidence: binary, hex, base64, PEM, or an RA-TLS certificate; '-' reads standard input.",
    ),
]
Json = Annotated[bool, Parameter(name="--json", help="Print one JSON object, whatever happens.", negative=())]


_VERIFY = """Judge evidence and say what it is worth; exit status 0 only if it is trusted.

What it is, is found out from its bytes: SGX quotes (version 3, 4, 5), TDX quotes (4, 5), SEV-SNP reports, Nitro
documents. For a certificate, the verdict includes that the evidence belongs to the certificate's key.

Collateral for SGX and TDX comes from --collateral, else from the store that 'adyton collateral import' fills, else
from --pccs, else, for Intel's own root, from Intel.

Without --policy the platform is judged, not the program: a genuine platform of any vendor without known weaknesses
passes, whatever runs on it. A policy file says what must run there, and what you put up with. All members may be left
out; another one is an error:

    mrenclaves: [64 hex digits]      SGX
    mrsigners: [64 hex digits]       SGX, with isvprodid: 1, min_isvsvn: 3
    mrtds: [96 hex digits]           TDX, with rtmrs: {0: [96 hex digits]}
    snp_measurements: [96 digits]    SEV-SNP
    pcrs: {0: [96 hex digits]}       Nitro
    report_data: hex digits          what the evidence must be over
    anchors: [intel, amd, aws]       accepted roots
    tolerate: [outdated-tcb]         accepted weaknesses
    ignore_advisories: [INTEL-SA-00615]
    min_evaluation_number: 17

For example:

    adyton evidence verify quote.bin
    adyton evidence verify quote.hex --policy accept.yaml --json
    adyton evidence verify quote.bin --collateral c.json --at 2025-07-01
    adyton evidence verify report.bin --collateral vcek.der --collateral chain.pem
    openssl s_client -connect host:443 </dev/null | adyton evidence verify -

Exit status: 0 trusted; 1 not trusted, or not decidable; 2 wrong usage.
"""


@app.command(help=_VERIFY)
def verify(
    file: File,
    *,
    collateral: Annotated[
        list[Path] | None,
        Parameter(
            **STDIN_ALLOWED,
            help="Collateral (SGX, TDX) in JSON, or certificates and CRL (SEV-SNP) in PEM or DER; may be given again.",
            negative=(),
        ),
    ] = None,
    policy: Annotated[
        Path | None, Parameter(**STDIN_ALLOWED, help="What you accept, in YAML or JSON, as above.")
    ] = None,
    anchor: Annotated[
        list[str] | None,
        Parameter(
            help="A root to accept besides: sim:FINGERPRINT (proves formats only); may be given again.", negative=()
        ),
    ] = None,
    at: Annotated[
        str | None, Parameter(help="Judge for this time: RFC 3339, a date, or Unix seconds. Default: now.")
    ] = None,
    pccs: Annotated[
        str | None, Parameter(help="Certificate service to fetch collateral from. Default: the vendor's own.")
    ] = None,
    offline: Annotated[bool, Parameter(help="Fetch nothing.", negative=())] = False,
    store: Store = None,
    state: State = None,
    as_json: Json = False,
) -> int:
    """Judge evidence and say what it is worth; exit status 0 only if it is trusted."""

    def judge() -> Judgement:
        from adyton.cli.adyton.judging import Question, answer  # noqa: PLC0415  # heavy

        return answer(
            Question(
                file=file,
                collateral=tuple(collateral or ()),
                policy=policy,
                anchors=tuple(anchor or ()),
                at=at,
                pccs=pccs,
                offline=offline,
                store=store,
                state=state,
            )
        )

    return _told(judge, as_json=as_json)


_SHOW = """Print what evidence says, field by field, without judging it.

Nothing that is shown is proven: anybody can write evidence that says so. FMSPC and CA tell which collateral to export.

For example:

    adyton evidence show quote.bin
    adyton evidence show quote.hex --json
"""


@app.command(help=_SHOW)
def show(file: File, *, as_json: Json = False) -> None:
    """Print what evidence says, field by field, without judging it."""
    from adyton.attestation.envelope import MAX_ENVELOPE_BYTES, open_envelope  # noqa: PLC0415  # heavy
    from adyton.cli.adyton.inputs import read_input  # noqa: PLC0415
    from adyton.cli.adyton.showing import facts  # noqa: PLC0415
    from adyton.cli.adyton.verdict_report import print_facts, print_json  # noqa: PLC0415

    with quiet():
        found = list(facts(open_envelope(read_input(file, MAX_ENVELOPE_BYTES, "the evidence"))))
    if as_json:
        print_json(dict(found))
    else:
        print_facts("NOT JUDGED: what the evidence says of itself", found)


_MAKE = """Make evidence of the enclave or trust domain that this command runs in.

Works inside an SGX enclave under Gramine (/dev/attestation), in a TDX trust domain (configfs-tsm), and in an enclave of
a simulated platform; anywhere else it says that there is nothing to quote. The first thing to try on new hardware:

    adyton evidence make --out quote.bin
    adyton evidence verify quote.bin

Let whoever asks for evidence choose the report data, for example the SHA-256 of a nonce and a public key: without it,
a quote says nothing about when and for whom it was made.
"""


@app.command(help=_MAKE)
def make(
    *,
    out: Annotated[Path, Parameter(help="File to write.")],
    report_data: Annotated[
        str, Parameter(help="Up to 64 bytes in hex that the evidence is over; shorter ones end in zeros.")
    ] = "",
) -> None:
    """Make evidence of the enclave or trust domain that this command runs in."""
    import sys  # noqa: PLC0415

    from adyton.base.files import write_atomic  # noqa: PLC0415
    from adyton.cli.adyton.inputs import read_hex  # noqa: PLC0415
    from adyton.platform.detect import evidence_source  # noqa: PLC0415  # heavy

    quote = evidence_source().quote(read_hex(report_data, 64, "--report-data").ljust(64, b"\0"))
    write_atomic(out, quote)
    sys.stderr.write(f"wrote {out}: {len(quote)} bytes; judge it with: adyton evidence verify {out}\n")


def _told(judge: Callable[[], Judgement], *, as_json: bool) -> int:
    """The border of these verbs: a verdict, or the reason why there is none, in the form that was asked for."""
    from adyton.cli.adyton import verdict_report  # noqa: PLC0415  # rich is needed by few verbs

    try:
        with quiet():
            judgement = judge()
    except AdytonError as error:
        reason = error
    except Exception as error:  # noqa: BLE001  # strangers write evidence: whatever it breaks, it is not trusted
        reason = AdytonError(
            f"the evidence was not judged: a defect of this program ({type(error).__name__})",
            code="evidence.defect",
            hint="please report it with the files that cause it; trust nothing of them",
        )
    else:
        if as_json:
            verdict_report.print_json(judgement.to_json())
        else:
            verdict_report.print_report(judgement)
        return 0 if judgement.verdict.trusted else 1
    if as_json:
        verdict_report.print_json(verdict_report.error_json(reason))
        return 1
    raise reason
