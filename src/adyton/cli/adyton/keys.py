"""``adyton keys``: exchange the keys of running services."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from adyton.cli.adyton.options import State

app = App(name="keys", help="Exchange the keys of running services; docs/operations.md says what each protects.")
rotate = App(name="rotate", help="Make new keys, write everything anew under them, and let go of the old ones.")
app.command(rotate)


@rotate.command
def cas(
    *,
    url: Annotated[str, Parameter(help="https://host:port of the CAS. Default: of the network in --state.")] = "",
    identity: Annotated[
        Path | None, Parameter(help="Folder with the operator's key, as 'adyton cas' makes it. Default: of --state.")
    ] = None,
    state: State = None,
) -> None:
    """Exchange the master key of a running CAS, and with it every key that encrypts its database.

    Sessions, their secrets, the keys that enclaves get, and the CAS's certificate authority stay what they are. Reads
    and attested releases go on; writes wait until every row is written anew. A kill meanwhile leaves the old key or
    the new one, and the next start says which. The CAS takes this from the clients that ADYTON_CAS_ADMINS names.
    """
    from adyton.cas.operation import rotate_keys  # noqa: PLC0415  # heavy
    from adyton.devnet.network import Network  # noqa: PLC0415
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415

    paths = NetworkPaths.of(state)
    entry = rotate_keys(url or Network.read(paths).cas, identity or paths.data("operator"))
    sys.stderr.write("the CAS has new keys; the old ones are gone\n")
    sys.stdout.write(f"{entry.seq}:{entry.hash}\n")
