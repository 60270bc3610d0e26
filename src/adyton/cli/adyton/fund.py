"""``adyton fund``: test money for a wallet of the local network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adyton.base.errors import InputError
from adyton.cli.adyton.options import State

_MOST_RLC = 1_000


def fund(
    address: Annotated[str | None, Parameter(help="Who gets it; the wallet.json of this folder when absent.")] = None,
    *,
    rlc: Annotated[int, Parameter(help=f"How many RLC, at most {_MOST_RLC}.")] = 10,
    state: State = None,
) -> None:
    """Send test money from the local network's faucet to a wallet.

    It is worth nothing anywhere else. The command waits until the transfer is in a block.
    """
    from adyton.base.types import parse_address  # noqa: PLC0415
    from adyton.chain.rpc import Rpc  # noqa: PLC0415  # heavy
    from adyton.chain.tx import TxSender  # noqa: PLC0415
    from adyton.devnet.network import Network  # noqa: PLC0415
    from adyton.devnet.operators import operator  # noqa: PLC0415
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415

    if not 1 <= rlc <= _MOST_RLC:
        raise InputError(f"--rlc {rlc} is not between 1 and {_MOST_RLC}", code="fund.amount")
    target = parse_address(address or _own_address())
    paths = NetworkPaths.of(state)
    network = Network.read(paths)
    sender = TxSender(Rpc(network.rpc), operator(paths, "faucet"), network.chain_id)
    sender.send(target, value=rlc * 10**18)
    sys.stderr.write(f"{target} got {rlc} RLC of test money\n")


def _own_address() -> str:
    file = Path("wallet.json")
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "no address is given and this folder has no wallet.json",
            code="fund.address",
            hint="name the address, or make a wallet first: iexec wallet create --unencrypted",
        ) from error
