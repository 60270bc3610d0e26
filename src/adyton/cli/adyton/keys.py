"""``adyton keys``: exchange the keys of running services."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from adyton.cli.adyton.options import State
from adyton.cli.adyton.sms_admin import Operated, opened

app = App(name="keys", help="Exchange the keys of running services; docs/operations.md says what each protects.")
rotate = App(name="rotate", help="Make new keys, write everything anew under them, and let go of the old ones.")
app.command(rotate)

_NETWORK = Operated()


@rotate.command
def cas(
    *,
    url: Annotated[str, Parameter(help="https://host:port of the CAS. Default: of the network in --state.")] = "",
    identity: Annotated[
        Path | None, Parameter(help="Folder with the operator's key, as 'adyton cas' makes it. Default: of --state.")
    ] = None,
    state: State = None,
) -> None:
    """Exchange the keys of a running CAS: the master key, with it every key of its database, and the authority's.

    Sessions, their secrets and the keys that enclaves get stay what they are. Reads and attested releases go on;
    writes wait until every row is written anew. A kill meanwhile leaves the old keys or the new ones, and the next
    start says which. Who keeps the old authority's root goes on for 90 days, in which 'adyton cas attest --out FILE'
    gets the new one; of a network, the operator's own is exchanged here. The CAS takes this from the clients that
    ADYTON_CAS_ADMINS names. Prints NUMBER:HASH of the audit entry.
    """
    from adyton.cas.client.operator import cas_policy, trust_cas  # noqa: PLC0415
    from adyton.cas.face.handover import HANDOVER_DAYS  # noqa: PLC0415  # heavy, as all that follow
    from adyton.cas.operation import rotate_keys  # noqa: PLC0415
    from adyton.devnet.network import Network  # noqa: PLC0415
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415

    paths = NetworkPaths.of(state)
    network = None if url else Network.read(paths)
    address = url or (network.cas if network else "")
    done = rotate_keys(address, identity or paths.data("operator"))
    sys.stderr.write(f"the CAS has new keys, and a new authority {done.authority}; the old ones are gone\n")
    sys.stdout.write(f"{done.seq}:{done.hash}\n")
    if network is not None and identity is None:
        trust_cas(address, paths.data("operator"), cas_policy(network.tier, [network.measurements["cas"]]))
        sys.stderr.write("the operator attested it again and keeps the new root\n")
    sys.stderr.write(
        f"others keep theirs for at most {HANDOVER_DAYS} days: 'adyton cas attest --out FILE' gets the new one\n"
    )


@rotate.command
def sms(*, operated: Operated = _NETWORK) -> None:
    """Exchange the database key of a running SMS, and seal every secret anew under the new one.

    The SMS is verified first. The CAS makes the new key, gives it to this SMS alone, and destroys the old one when
    every row is under the new one. Nothing is restarted; secrets can be read meanwhile, and pushing one waits. A kill
    of either, at any moment, loses nothing: the SMS's next start finishes the exchange or takes it back. Backups of
    before cannot be opened by anybody afterwards: make a new one. The SMS takes this from the clients that
    ADYTON_SMS_ADMINS names. Prints NUMBER:HASH of the entry in the CAS's audit log.
    """
    with opened(operated) as service:
        done = service.rotate_keys()
    if not done.generation:
        sys.stderr.write(
            f"rows sealed anew: {done.rows} in {done.seconds:.1f} s; the database key itself stayed:"
            " nobody exchanges it for this SMS\n"
        )
        return
    sys.stderr.write(
        f"rows sealed anew: {done.rows} in {done.seconds:.1f} s; the database key is of generation"
        f" {done.generation}, the one before is gone\n"
        "backups of before cannot be opened any more: make a new one with 'adyton sms backup make'\n"
    )
    sys.stdout.write(f"{done.entry}:{done.hash}\n")
