"""``adyton sms``: verify a secret management service before anybody gives it a secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from adyton.base.errors import AdytonError, InputError, NotFoundError
from adyton.cli.adyton.inputs import quiet, read_hex
from adyton.cli.adyton.options import State

if TYPE_CHECKING:
    from adyton.cli.adyton.verdict_report import Judgement
    from adyton.sdk.smsentry import ExpectedSms
    from adyton.sms.attest import Fetch

app = App(name="sms", help="Verify a secret management service before anybody gives it a secret; keep its backups.")
app.command(
    "adyton.cli.adyton.sms_admin:backup",
    name="backup",
    help="Make, copy, restore and delete encrypted backups, which lie with the SMS.",
)

_HASH_BYTES: Final = 32

_ATTEST = """Verify that an SMS is the enclave that you expect, on a healthy platform under a root that you accept.

Without a URL it is both SMS of the network in --state, expected as its network.json says. For any other SMS say which
build you accept: with --mrenclave, or with --mrsigner and --product. The URL is that of its TLS port: over plain HTTP
anybody on the way can answer for the enclave, so nothing is proven there.

What is checked: that the evidence is over the key of this very connection and over a nonce of this very call, that it
is for this purpose, and everything about its quote. Collateral comes from --pccs, else from the SMS itself; its
signatures prove it, not who hands it over.

For example:

    adyton sms attest
    adyton sms attest https://sms.example:13302 --mrenclave 3f…64 hex digits…
    adyton sms attest https://sms.example:13302 --mrsigner 9a…64 hex digits… --product 3 --min-svn 2

Exit status: 0 it is the expected SMS; 1 it is not, or does not answer; 2 wrong usage.
"""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Which SMS is meant."""

    mrenclave: Annotated[
        list[str] | None, Parameter(help="Accepted measurement, 64 hex digits; may be given again.", negative=())
    ] = None
    mrsigner: Annotated[
        list[str] | None, Parameter(help="Accepted signer, 64 hex digits; may be given again.", negative=())
    ] = None
    product: Annotated[int | None, Parameter(help="Product number (ISVPRODID) of that signer.")] = None
    min_svn: Annotated[int, Parameter(help="Lowest accepted security version (ISVSVN) of that product.")] = 0
    anchor: Annotated[
        list[str] | None,
        Parameter(
            help="Accepted root: intel, or sim:FINGERPRINT; may be given again. Default: that of the network, else"
            " intel.",
            negative=(),
        ),
    ] = None
    tolerate: Annotated[
        list[str] | None, Parameter(help="Accepted weakness, such as outdated-tcb; may be given again.", negative=())
    ] = None
    pccs: Annotated[
        str | None, Parameter(help="Certificate service to fetch collateral from. Default: the SMS itself.")
    ] = None
    state: State = None


_NETWORK = Accepted()


@app.command(help=_ATTEST)
def attest(
    url: Annotated[str | None, Parameter(help="https://host:port of the TLS port. Default: the network's.")] = None,
    /,
    *,
    accepted: Accepted = _NETWORK,
    as_json: Annotated[
        bool, Parameter(name=["--json", "--raw"], help="Print one JSON object, whatever happens.", negative=())
    ] = False,
) -> int:
    """Verify that an SMS is the enclave that you expect."""
    from adyton.cli.adyton.verdict_report import print_json  # noqa: PLC0415  # rich is needed by few verbs

    try:
        meant = targets(url, accepted)
        with quiet():
            reports = [_judged(target, accepted) for target in meant]
    except AdytonError as error:
        if not as_json:
            raise
        print_json({"trusted": False, "code": error.code, "message": error.message, "hint": error.hint})
        return 1
    trusted = all(judgement.verdict.trusted for judgement in reports)
    if as_json:
        described = [
            {"address": target.url} | judgement.to_json() for target, judgement in zip(meant, reports, strict=True)
        ]
        print_json({"trusted": trusted, "sms": described})
    else:
        _print(meant, reports)
    return 0 if trusted else 1


def targets(url: str | None, accepted: Accepted) -> list[ExpectedSms]:
    """The SMS that are meant, and what they must be: what the options say, and for the network's what its file says."""
    from adyton.devnet.network import Network  # noqa: PLC0415  # pydantic is needed by few verbs
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415
    from adyton.sms.attest import require_tls  # noqa: PLC0415

    if url is not None:
        require_tls(url)
    try:
        network = Network.read(NetworkPaths.of(accepted.state))
    except NotFoundError:
        if url is None:
            raise
        own = {}
    else:
        own = {
            address: (network.measurements[name], network.tier)
            for address, name in ((network.sms_tls, "sms-production"), (network.sms_debug_tls, "sms-debug"))
            if address
        }
    if url is None and not own:
        raise NotFoundError(
            "the network was started by an older version, whose SMS do not prove themselves",
            code="devnet.network.sms",
            hint="start it again: adyton down, then adyton up",
        )
    addresses = list(own) if url is None else [url.rstrip("/")]
    return [_expected(address, accepted, *own.get(address, ("", ""))) for address in addresses]


def _expected(url: str, accepted: Accepted, measurement: str, tier: str) -> ExpectedSms:
    from adyton.sdk.smsentry import ExpectedSms  # noqa: PLC0415

    signers = _hashes(accepted.mrsigner, "--mrsigner")
    mrenclaves = _hashes(accepted.mrenclave, "--mrenclave")
    if not mrenclaves and not signers and measurement:
        mrenclaves = (measurement,)
    if not mrenclaves and not (signers and accepted.product is not None):
        raise InputError(
            f"nothing says which enclave the SMS at {url} must be",
            code="sms.client.measurement",
            hint="name the accepted build with --mrenclave, or its signer and product with --mrsigner and --product;"
            " who runs the SMS publishes them",
        )
    return ExpectedSms(
        url=url,
        mrenclaves=mrenclaves,
        mrsigners=signers,
        product=accepted.product,
        min_svn=accepted.min_svn,
        anchors=tuple(accepted.anchor or [tier or "intel"]),
        tolerate=tuple(accepted.tolerate or ()),
        pccs=accepted.pccs,
    )


def _hashes(texts: Sequence[str] | None, option: str) -> tuple[str, ...]:
    values = [read_hex(text, _HASH_BYTES, option) for text in texts or ()]
    if any(len(value) != _HASH_BYTES for value in values):
        raise InputError(f"{option} takes 64 hex digits", code="sms.client.measurement")
    return tuple(value.hex() for value in values)


def _judged(expected: ExpectedSms, accepted: Accepted) -> Judgement:
    from adyton.attestation.material import QuotePlatform  # noqa: PLC0415  # heavy, as all that follow
    from adyton.attestation.ratls.certificate import extract  # noqa: PLC0415
    from adyton.base.clock import utc_now  # noqa: PLC0415
    from adyton.cli.adyton.verdict_report import Judgement  # noqa: PLC0415
    from adyton.sms.attest import appraise, ask  # noqa: PLC0415

    policy = expected.policy()
    proof = ask(expected.url, fetch=fetching(accepted.pccs))
    at = utc_now()
    verdict = appraise(proof, policy, at)
    if not verdict.trusted:
        verdict = replace(verdict, needed=(*verdict.needed, f"The enclave that you named: {expected.describe()}."))
    return Judgement(
        verdict=verdict,
        form="over the key of this connection and a fresh nonce",
        at=at,
        asked_for=False,
        names_a_program=True,
        tier=QuotePlatform.of(extract(proof.certificate)[0]).tier,
        sources=(accepted.pccs or "the SMS itself",),
    )


def fetching(pccs: str | None) -> Fetch | None:
    """Who gives collateral: the named certificate service; None: the SMS itself."""
    from adyton.cli.adyton.fetching import fetch  # noqa: PLC0415

    return None if pccs is None else lambda platform: fetch(pccs, platform)


def _print(targets: Sequence[ExpectedSms], reports: Sequence[Any]) -> None:
    from adyton.cli.adyton.verdict_report import print_report, write_out  # noqa: PLC0415
    from adyton.cli.refusal import plain  # noqa: PLC0415

    for number, (target, judgement) in enumerate(zip(targets, reports, strict=True)):
        write_out(("\n" if number else "") + f"SMS at {plain(target.url)}\n")
        print_report(judgement)
