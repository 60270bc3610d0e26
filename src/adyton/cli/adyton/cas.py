"""``adyton cas``: verify a configuration and attestation service, and keep sessions in it.

No session, nor the name of one, is sent to a CAS that has not been verified by the same command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from adyton.base.errors import AdytonError, InputError, NotFoundError
from adyton.cli.adyton.inputs import STDIN_ALLOWED, quiet, read_input
from adyton.cli.adyton.options import State

if TYPE_CHECKING:
    from adyton.attestation.policy import QuotePolicy
    from adyton.cas.client.answers import SessionInfo
    from adyton.cas.client.owners import SessionClient
    from adyton.cas.client.proof import AttestedCas

app = App(name="cas", help="Verify a CAS, and keep sessions in it: which enclaves get which secrets.")
session = App(name="session", help="Check session documents, create and update sessions, show and list one's own.")
app.command(session)

_UPGRADE = """Approve, as one of those whom a session names, the enclave that may take the place of its current one.

It takes effect with the successor's first start, once as many approved the same; from then on its predecessor is
refused for good. Until then you can take your approval back, or give it to another successor or choice. With --carry
the successor can read all that the present enclave keeps: approve only what you built yourself from source that you
read, and whose manifest names the same approvers ('adyton enclave inspect'). docs/operations.md, "Releasing a new SMS".

For example:

    adyton cas session upgrade adyton-sms-production --successor 3f…64 hex digits… --carry --identity ann
"""
_IDENTITY = """Print the key hash by which a CAS knows you: what access policies and lists of approvers name.

The key is made where there is none. Keep a copy of the folder: nobody can give you another key with this hash.
"""
_UPGRADE_SMS = """Build the SMS of a running network anew from the source as it is now, and say how to have it approved.

Only for a network that was first started with 'adyton up --sms-approver'. The new images lie beside the present ones,
and nothing changes before enough approvers said so and the network was started again: 'adyton down', then 'adyton up'
takes up what is approved.
"""
session.command("adyton.cli.adyton.successors:upgrade", name="upgrade", help=_UPGRADE)
app.command("adyton.cli.adyton.successors:identity", name="identity", help=_IDENTITY)
app.command("adyton.cli.adyton.successors:upgrade_sms", name="upgrade-sms", help=_UPGRADE_SMS)

Json = Annotated[bool, Parameter(name="--json", help="Print one JSON object, whatever happens.", negative=())]
File = Annotated[Path, Parameter(**STDIN_ALLOWED, help="The session document, YAML or JSON; '-' reads standard input.")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Which CAS is meant."""

    mrenclave: Annotated[
        list[str] | None,
        Parameter(help="Accepted measurement of the CAS, 64 hex digits; may be given again.", negative=()),
    ] = None
    anchor: Annotated[
        str | None,
        Parameter(help="Accepted root: intel, or sim:FINGERPRINT. Default: that of the network, else intel."),
    ] = None
    tolerate: Annotated[
        list[str] | None, Parameter(help="Accepted weakness, such as outdated-tcb; may be given again.", negative=())
    ] = None
    state: State = None


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Owner(Accepted):
    """Which CAS is meant, and as whom to speak to it."""

    cas: Annotated[
        str | None, Parameter(help="https://host[:port] of the CAS. Default: that of the running network.")
    ] = None
    identity: Annotated[
        Path | None,
        Parameter(
            help="Folder of your client key, made at first use: keep it, it owns your sessions. Default: folder"
            " 'owner' of the network."
        ),
    ] = None


_NETWORK = Accepted()
_OWNER = Owner()

_ATTEST = """Verify that a CAS is the enclave that you expect, on a healthy platform under a root that you accept.

Without a URL it is the CAS of the network in --state, expected as its network.json says. For any other CAS say with
--mrenclave which build you accept. With --out the root of its authority is written, PEM, only if the verdict is good:
what servers of services under this CAS are verified by.

For example:

    adyton cas attest
    adyton cas attest https://cas.example:8081 --mrenclave 3f…64 hex digits… --out cas.pem

Exit status: 0 it is the expected CAS; 1 it is not, or does not answer; 2 wrong usage.
"""


@app.command(help=_ATTEST)
def attest(
    url: Annotated[str | None, Parameter(help="https://host[:port]. Default: the network's.")] = None,
    /,
    *,
    accepted: Accepted = _NETWORK,
    out: Annotated[Path | None, Parameter(help="File for the root of the CAS's authority, PEM.")] = None,
    as_json: Json = False,
) -> int:
    """Verify that a CAS is the enclave that you expect."""

    def judge() -> dict[str, Any]:
        from adyton.base.files import write_atomic  # noqa: PLC0415  # heavy, as all that follow
        from adyton.cas.client.owners import DEFAULT_REST_PORT  # noqa: PLC0415
        from adyton.cas.client.proof import attest_cas  # noqa: PLC0415
        from adyton.cas.client.tls import host_port, tcp  # noqa: PLC0415

        address, policy = _target(url, accepted)
        found = attest_cas(tcp(*host_port(address, DEFAULT_REST_PORT)), policy)
        if out is not None:
            write_atomic(out, found.authority_pem.encode())
        return _described(address, found)

    with quiet():
        return _answer(judge, _show_attested, as_json=as_json, refused={"trusted": False})


@session.command
def create(file: File, *, owner: Owner = _OWNER, as_json: Json = False) -> int:
    """Create a session from a document; posting the same document again changes nothing.

    The document is checked here, then the CAS is verified, then it is sent.
    """

    def do() -> dict[str, Any]:
        document = _checked(file)
        if _read_session(document).predecessor is not None:
            raise InputError(
                "the document names a predecessor, so it is an update",
                code="cas.client.predecessor",
                hint="use 'adyton cas session update', or take the predecessor out",
            )
        with _client(owner) as client:
            return _stored(client.create(document))

    return _answer(do, _show_pairs, as_json=as_json)


@session.command
def update(
    file: File,
    *,
    predecessor: Annotated[
        str | None,
        Parameter(help="Hash of the version that the document replaces; goes before what the document says."),
    ] = None,
    owner: Owner = _OWNER,
    as_json: Json = False,
) -> int:
    """Replace a session by a document that names the hash of the version it was made from.

    If somebody else changed the session meanwhile, nothing happens: show it, and apply your change to what it is now.
    Secrets and volumes whose definitions do not change keep their values.
    """

    def do() -> dict[str, Any]:
        document = read_input(file, _limit(), "the session document")
        if predecessor is not None:
            from adyton.cas.client.operator import with_predecessor  # noqa: PLC0415

            document = with_predecessor(document, predecessor)
        if _read_session(document).predecessor is None:
            raise InputError(
                "the document does not say which version it replaces",
                code="cas.client.predecessor",
                hint="give --predecessor HASH, as 'adyton cas session show' prints it for the version you started from",
            )
        with _client(owner) as client:
            return _stored(client.create(document))

    return _answer(do, _show_pairs, as_json=as_json)


@session.command
def show(name: str, /, *, owner: Owner = _OWNER, as_json: Json = False) -> int:
    """Print a session, without the values of its secrets, as YAML; its hash and creator are comments at the top.

    Of one with an upgrade policy the comments also say which enclave is current, how it came to that, and who approved
    what comes next. Only who its access_policy lets read it, and its approvers can; to all others it looks as if there
    were none.
    """

    def do() -> dict[str, Any]:
        with _client(owner) as client:
            info = client.show(name)
        line = {} if info.line is None else {"line": dict(info.line)}
        more = {"salt": info.salt, "creator": info.creator, "document": dict(info.document or {})}
        return {**_stored(info), **more, **line}

    return _answer(do, _show_document, as_json=as_json)


@session.command(name="list")
def list_sessions(*, owner: Owner = _OWNER, as_json: Json = False) -> int:
    """List the sessions that you created, may read, and that have not ended."""

    def do() -> dict[str, Any]:
        with _client(owner) as client:
            found = sorted(client.list(), key=lambda info: info.name)
        return {"sessions": [{**_stored(info), "expiry": info.expiry} for info in found]}

    return _answer(do, _show_list, as_json=as_json)


@session.command
def check(file: File, *, as_json: Json = False) -> int:
    """Check a session document as a CAS would, without one; exit status 0 only if it would be accepted.

    What only the CAS knows is not checked: whether the name is free, and which roots it accepts.
    """

    def do() -> dict[str, Any]:
        found = _read_session(read_input(file, _limit(), "the session document"))
        return {"name": found.name, "services": len(found.services), "secrets": len(found.secrets), "valid": True}

    return _answer(do, _show_pairs, as_json=as_json)


# what the commands share


def _target(url: str | None, accepted: Accepted) -> tuple[str, QuotePolicy]:
    """Address of the CAS, and who may be it: what the options say, and for the network's CAS what its file says."""
    from adyton.cas.client.operator import cas_policy  # noqa: PLC0415
    from adyton.devnet.network import Network  # noqa: PLC0415
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415

    try:
        network = Network.read(NetworkPaths.of(accepted.state))
    except NotFoundError:
        if url is None:
            raise
        network = None
    address = url or (network.cas if network else "")
    mrenclaves, anchor = accepted.mrenclave or [], accepted.anchor
    if network is not None and address.rstrip("/") == network.cas:
        mrenclaves = mrenclaves or [network.measurements["cas"]]
        anchor = anchor or network.tier
    if not mrenclaves:
        raise InputError(
            f"nothing says which enclave the CAS at {address} must be",
            code="cas.client.measurement",
            hint="name the accepted build with --mrenclave; 'adyton enclave' shows the measurement of an image",
        )
    return address, cas_policy(anchor or "intel", mrenclaves, tolerate=accepted.tolerate or ())


@contextmanager
def _client(owner: Owner) -> Iterator[SessionClient]:
    """The client of a CAS that was verified for this command."""
    from adyton.cas.client.operator import enter  # noqa: PLC0415
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415

    address, policy = _target(owner.cas, owner)
    folder = owner.identity or NetworkPaths.of(owner.state).data("owner")
    with quiet():
        client, attested = enter(address, folder, policy)
    if attested.evidence.tier.startswith("sim:"):
        sys.stderr.write("adyton: this CAS runs on a simulated platform: its host can read what you send\n")
    yield client


def _limit() -> int:
    from adyton.cas.language.yamltree import MAX_BYTES  # noqa: PLC0415

    return MAX_BYTES


def _checked(file: Path) -> bytes:
    document = read_input(file, _limit(), "the session document")
    _read_session(document)
    return document


def _read_session(document: bytes) -> Any:  # noqa: ANN401  # a Session, whose import is heavy
    from adyton.cas.client.operator import check_session  # noqa: PLC0415

    return check_session(document)


def _stored(info: SessionInfo) -> dict[str, Any]:
    return {"name": info.name, "hash": info.hash, "version": info.version}


def _described(address: str, found: AttestedCas) -> dict[str, Any]:
    return {
        "trusted": True,
        "address": address,
        "tier": found.evidence.tier,
        "mrenclave": found.evidence.mrenclave.hex(),
        "authority": found.authority_sha256,
    }


def _answer(
    do: Callable[[], dict[str, Any]],
    show_text: Callable[[dict[str, Any]], None],
    *,
    as_json: bool,
    refused: Mapping[str, Any] = MappingProxyType({}),
) -> int:
    """Do it, and print what came of it in the form that was asked for; the exit status."""
    from adyton.cli.adyton.verdict_report import print_json  # noqa: PLC0415  # rich is needed by few verbs

    try:
        found = do()
    except AdytonError as error:
        if not as_json:
            raise
        print_json({**refused, "code": error.code, "message": error.message, "hint": error.hint})
        return 1
    if as_json:
        print_json(found)
    else:
        show_text(found)
    return 0


def _show_attested(found: dict[str, Any]) -> None:
    from adyton.cli.adyton.verdict_report import print_facts  # noqa: PLC0415

    simulated = found["tier"].startswith("sim:")
    title = "TRUSTED, SIMULATED: proves formats and measurement, no secrecy" if simulated else "TRUSTED"
    print_facts(title, [(name, str(value)) for name, value in found.items() if name != "trusted"])


def _show_pairs(found: dict[str, Any]) -> None:
    from adyton.cli.adyton.verdict_report import write_out  # noqa: PLC0415

    _write_lines(write_out, [f"{name}: {value}" for name, value in found.items() if name != "valid"])


def _show_list(found: dict[str, Any]) -> None:
    from adyton.cli.adyton.verdict_report import write_out  # noqa: PLC0415

    lines = [f"{entry['name']}  {entry['hash']}  {entry['expiry'] or 'no end'}" for entry in found["sessions"]]
    _write_lines(write_out, lines or ["no sessions"])


def _show_document(found: dict[str, Any]) -> None:
    import yaml  # noqa: PLC0415

    from adyton.cli.adyton.successors import line_text  # noqa: PLC0415
    from adyton.cli.adyton.verdict_report import write_out  # noqa: PLC0415

    head = [f"# {name}: {found[name]}" for name in ("hash", "version", "salt", "creator")]
    text = yaml.safe_dump(found["document"], sort_keys=False, allow_unicode=False)
    line = line_text(found["line"]) if "line" in found else []
    _write_lines(write_out, [*head, *(f"# {each}" for each in line), *text.splitlines()])


def _write_lines(write_out: Callable[[str], None], lines: Sequence[str]) -> None:
    from adyton.cli.refusal import plain  # noqa: PLC0415  # what others wrote must not steer the terminal

    write_out("".join(f"{plain(line)}\n" for line in lines))
