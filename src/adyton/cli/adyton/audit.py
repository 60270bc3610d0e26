"""``adyton audit``: the hash-chained logs of CAS and SMS, verified offline, read, their heads published on chain."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from adyton.base.errors import InputError
from adyton.cli.adyton.options import State

if TYPE_CHECKING:
    from adyton.base.auditfile import Verdict
    from adyton.chain.auditanchor import PublishedHead

app = App(
    name="audit", help="The hash-chained logs of CAS and SMS: verify them offline, read them, publish their head."
)

_LOGS: Final = (("cas", "cas.db"), ("sms", "sms.sqlite3"), ("sms_debug", "sms.sqlite3"))  # folder, file
_SHOWN: Final = 16  # characters of a hash in a table
File = Annotated[Path | None, Parameter(help="Database file, as cas.db or sms.sqlite3. Default: all of --state.")]
Rpc = Annotated[str, Parameter(name="--rpc", help="URL of a node. Default: of the network in --state.")]
Json = Annotated[bool, Parameter(name="--json", help="Print one JSON document for each line.", negative=())]


@app.command
def verify(
    file: File = None,
    *,
    state: State = None,
    from_chain: Annotated[
        bool, Parameter(help="Compare with every head that was published from here.", negative=())
    ] = False,
    transaction: Annotated[
        list[str] | None, Parameter(help="Compare with the head that this transaction published; again for more.")
    ] = None,
    publisher: Annotated[str, Parameter(help="Who must have published: address. Default: anybody.")] = "",
    rpc: Rpc = "",
    json_: Json = False,
) -> int:
    """Follow the hash chain of a log from its beginning; exit status 0 whole or empty, 1 not.

    Prints NUMBER:HASH of the last entry, or the first line that is not the one that was written. It needs no key and
    writes nothing; the service may be running. Who can write the file can make another whole chain, and who cuts off
    the end leaves one: note the head elsewhere, publish it ('adyton audit publish'), and compare (--from-chain).
    The CAS and the SMS compare by themselves, with what they keep encrypted, at every start.
    """
    from adyton.cli.adyton.audit_compare import compare, compare_noted  # noqa: PLC0415
    from adyton.cli.adyton.audit_report import Report  # noqa: PLC0415

    reports = [Report(path, _judge(path)) for path in _files(file, state)]
    stray = compare(reports, transaction or [], publisher, _rpc_url(rpc, state)) if transaction else []
    if from_chain:
        compare_noted(reports, publisher, _rpc_url(rpc, state))
    for report in reports:
        sys.stdout.write(report.document() if json_ else report.text())
    for text in stray:
        sys.stderr.write(f"adyton: {text}\n")
    return 0 if all(report.good for report in reports) and not stray else 1


@app.command
def show(
    file: File = None,
    *,
    state: State = None,
    code: Annotated[str, Parameter(help="Only refusals of this code, or of codes that begin with it.")] = "",
    event: Annotated[str, Parameter(help="Only this event, as release or session.create.")] = "",
    session: Annotated[str, Parameter(help="Only this session: its name, its hash, or the beginning of either.")] = "",
    since: Annotated[str, Parameter(help="From then on: ISO time, as 2026-11-22 or 2026-11-22T12:00:00.")] = "",
    until: Annotated[str, Parameter(help="Before then.")] = "",
    json_: Json = False,
) -> int:
    """Print the entries of a log, oldest first; exit status 1 when the log is not whole.

    Entries hold digests of sessions' names, measurements, key hashes and codes; never a name, a secret or a key. A
    whole session name given with --session is digested here.
    """
    wanted = _Filter(code, event, session, _moment(since), _moment(until))
    good = True
    paths = _files(file, state)
    for path in paths:
        verdict = _judge(path)
        if len(paths) > 1:
            sys.stderr.write(f"{path}:\n")
        shown = 0
        for seq, values in _entries(path):
            if verdict.bad_line and seq >= verdict.bad_line:
                break
            if wanted.takes(values):
                sys.stdout.write(_line(seq, values, verdict.service, as_json=json_) + "\n")
                shown += 1
        if verdict.bad_line:
            good = False
            sys.stderr.write(
                f"{path}: line {verdict.bad_line}: {verdict.reason}; nothing from there on is shown,"
                " 'adyton audit verify' says what to do\n"
            )
        elif not shown:
            sys.stderr.write(f"{path}: {'no entry matches' if verdict.head else 'nothing was recorded yet'}\n")
    return 0 if good else 1


@app.command
def publish(
    file: File = None,
    *,
    wallet: Annotated[Path, Parameter(help="wallet.json or keystore of who publishes.")] = Path("wallet.json"),
    passphrase_file: Annotated[Path | None, Parameter(help="Private file with the keystore's password.")] = None,
    state: State = None,
    rpc: Rpc = "",
) -> None:
    """Put the head of a log on chain: a transaction of the wallet to itself, with the head in its calldata.

    From then on nobody can cut the log shorter or rewrite it up to there without everybody being able to see it:
    'adyton audit verify --from-chain' compares. The transaction is noted beside the log, in published-heads.json, and
    the printed NUMBER:HASH can be given to the CAS as ADYTON_CAS_AUDIT_ANCHOR, to be demanded at its next start.
    Logs without an entry are left out. A log that is not whole stops the command before anything is published.

    Exit status: 0 published; 1 not, or nothing is there to publish.
    """
    from adyton.chain import auditanchor  # noqa: PLC0415  # heavy
    from adyton.chain.rpc import Rpc as Node  # noqa: PLC0415
    from adyton.chain.tx import TxSender  # noqa: PLC0415
    from adyton.cli.adyton.audit_compare import note  # noqa: PLC0415

    heads = _heads(_files(file, state))
    signer = _open_wallet(wallet, passphrase_file)
    node = Node(_rpc_url(rpc, state))
    try:
        sender = TxSender(node, signer, node.chain_id())
        for path, head in heads:
            transaction = auditanchor.publish(sender, head)
            note(path, head, transaction)
            sys.stderr.write(f"{path}: entry {head.seq} published by {sender.address}\n")
            sys.stdout.write(f"{head.seq}:{head.hash} {transaction}\n")
    finally:
        node.close()


class _Filter:
    def __init__(self, code: str, event: str, session: str, since: datetime | None, until: datetime | None) -> None:
        from adyton.base.log import short_hash  # noqa: PLC0415

        self._code, self._event, self._since, self._until = code, event, since, until
        self._sessions = (session, short_hash(session)) if session else ()

    def takes(self, values: Mapping[str, Any]) -> bool:
        """Whether an entry is asked for."""
        at = _recorded(str(values.get("at", "")))
        if self._code and not str(values.get("code", "")).startswith(self._code):
            return False
        if self._event and values.get("event") != self._event:
            return False
        if self._since is not None and (at is None or at < self._since):
            return False
        if self._until is not None and (at is None or at >= self._until):
            return False
        places = [str(values.get(name, "")) for name in ("session", "session_hash")]
        return not self._sessions or any(place.startswith(self._sessions) for place in places if place)


def _files(file: Path | None, state: Path | None) -> list[Path]:
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415

    if file is not None:
        return [file]
    root = NetworkPaths.of(state).root
    found = [root / folder / name for folder, name in _LOGS if (root / folder / name).is_file()]
    if not found:
        raise InputError(
            f"there is no audit log in {root}", code="audit.file.absent", hint="name the file, or another --state"
        )
    return found


def _judge(path: Path) -> Verdict:
    from adyton.base.auditfile import check, read_lines  # noqa: PLC0415
    from adyton.cas.store.tables import AUDIT_CHAIN  # noqa: PLC0415  # heavy
    from adyton.sms.store.tables import audit_chain  # noqa: PLC0415

    return check(read_lines(path), {"cas": AUDIT_CHAIN, "sms": audit_chain})


def _entries(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    from adyton.base.auditfile import fields, read_lines  # noqa: PLC0415

    for line in read_lines(path):
        if line.entry is not None:
            yield line.number, fields(line.entry)


def _line(seq: int, values: Mapping[str, Any], service: str, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"log": service, "seq": seq, **values})
    rest = {name: value for name, value in values.items() if name not in ("at", "event", "outcome", "code")}
    words = [f"{name}={_short(name, str(value))}" for name, value in rest.items()]
    said = values.get("code") or values.get("outcome", "")
    return " ".join((f"{seq:>6}", str(values.get("at", "?"))[:19], str(values.get("event", "?")), str(said), *words))


def _short(name: str, value: str) -> str:
    shown = value if name == "detail" or len(value) <= _SHOWN else value[:_SHOWN] + "…"
    return "".join(character if character.isprintable() else "?" for character in shown)


def _moment(text: str) -> datetime | None:
    """An ISO time, of UTC where it names no zone; None for an empty text.

    Raises:
        InputError: another form.
    """
    from datetime import UTC  # noqa: PLC0415

    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"{text!r} is no time", code="audit.time", hint="write 2026-11-22 or 2026-11-22T12:00:00+00:00"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _recorded(text: str) -> datetime | None:
    """The time of an entry; None where somebody wrote another one than a service does."""
    try:
        return _moment(text)
    except InputError:
        return None


def _heads(paths: list[Path]) -> list[tuple[Path, PublishedHead]]:
    """The heads of the logs that have one.

    Raises:
        InputError: a log is not whole, or none has an entry.
    """
    from adyton.chain.auditanchor import PublishedHead  # noqa: PLC0415

    heads = []
    for path in paths:
        verdict = _judge(path)
        if verdict.bad_line:
            raise InputError(
                f"{path}: line {verdict.bad_line}: {verdict.reason}",
                code="audit.publish.broken",
                hint="only a whole log is published; 'adyton audit verify' says what to do",
            )
        if verdict.head is None:
            sys.stderr.write(f"{path}: nothing was recorded yet, so there is nothing to publish\n")
            continue
        heads.append((path, PublishedHead(verdict.first, verdict.head.seq, verdict.head.hash)))
    if not heads:
        raise InputError("no log has an entry", code="audit.publish.empty", hint="publish once something was recorded")
    return heads


def _rpc_url(given: str, state: Path | None) -> str:
    from adyton.devnet.network import Network  # noqa: PLC0415
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415

    return given or Network.read(NetworkPaths.of(state)).rpc


def _open_wallet(file: Path, passphrase_file: Path | None) -> Any:  # noqa: ANN401  # Wallet is imported where used
    from adyton.base.secret import Secret  # noqa: PLC0415
    from adyton.cli.signing import read_passphrase  # noqa: PLC0415
    from adyton.sdk.wallets import WalletSelection, find  # noqa: PLC0415

    if not file.is_file():
        raise InputError(
            f"{file} does not exist",
            code="audit.wallet.absent",
            hint="name the wallet of who publishes with --wallet; 'iexec wallet create' makes one",
        )

    def ask(name: str) -> Secret[str]:
        if passphrase_file is not None:
            return read_passphrase(passphrase_file)
        if not sys.stdin.isatty():
            raise InputError(
                f"nobody is there to type the password of {name}",
                code="audit.wallet.password",
                hint="name a private file that holds it: --passphrase-file FILE",
            )
        import getpass  # noqa: PLC0415

        return Secret(getpass.getpass(f"Password of {name}: "))

    return find(WalletSelection(str(file.resolve().parent), file.name), Path.cwd()).open(ask)
