"""``adyton up``: start the whole network, show it live, stop it cleanly."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from adyton.cli.adyton.options import PortChoices, State, parse_ports


def up(
    *,
    detach: Annotated[bool, Parameter(help="Return once it is ready and leave it running.", negative=())] = False,
    state: State = None,
    port: PortChoices = None,
    sms_approver: Annotated[
        list[str] | None,
        Parameter(
            help="Key hash of one who may approve a successor of the SMS; may be given again. Only at the first start"
            " of a network: its SMS is built for them. Default: nobody may, ever.",
            negative=(),
        ),
    ] = None,
    sms_approvals: Annotated[int | None, Parameter(help="How many of them must approve. Default: all.")] = None,
) -> None:
    """Start a whole network on this machine: chain, market, SMS, CAS, simulated SGX platform, schedulers, workers.

    In the foreground it shows a live table of the services until Ctrl-C, which stops all of them. What the network
    stored (chain, secrets, orders, results) is there again at the next start.
    """
    from adyton.devnet.approvers import fix_approvers  # noqa: PLC0415  # heavy, as all that follow
    from adyton.devnet.foreground import run, start_detached  # noqa: PLC0415
    from adyton.devnet.network import Ports  # noqa: PLC0415
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415

    paths = NetworkPaths.of(state)
    ports = Ports.choose(parse_ports(port))
    fix_approvers(paths, sms_approver or [], sms_approvals)
    if detach:
        start_detached(paths, ports)
    else:
        run(paths, ports)
