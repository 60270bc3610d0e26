"""How a network looks to a person: the table of services, and the addresses to use."""

from __future__ import annotations

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from adyton.devnet.network import Network
from adyton.devnet.supervision import Status

_STYLE = {"ready": "green", "starting": "yellow", "restarting": "red"}


def services_table(status: Status) -> Table:
    """The services in start order, with state, endpoint, process and time to readiness."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("SERVICE", "STATE", "ENDPOINT", "PID", "READY IN", "RESTARTS"):
        table.add_column(title, justify="right" if title in {"PID", "READY IN", "RESTARTS"} else "left")
    for service in status.services:
        table.add_row(
            service.name,
            Text(service.state, style=_STYLE.get(service.state, "")),
            service.endpoint,
            str(service.pid),
            "" if service.ready_s is None else f"{service.ready_s:.1f} s",
            str(service.restarts or ""),
        )
    return table


def next_steps(network: Network) -> Text:
    """What a person does with a network that is ready."""
    text = Text()
    text.append(f"\nready in {network.ready_s:.1f} s", style="bold green")
    text.append(f" · chain id {network.chain_id} (a local twin of Bellecour) · evidence tier {network.tier}\n")
    for name, pool in network.pools.items():
        text.append(f"  {name:<44} {pool.address}\n")
    text.append("\nIn a folder of your own:\n", style="bold")
    text.append("  iexec init --force --skip-wallet && adyton chain-json --write     use this network\n")
    text.append("  iexec wallet create --unencrypted && adyton fund                  a wallet with test money\n")
    text.append(
        "\nThe platform is simulated: it shows formats, code paths and policy, not secrecy from this ", style="yellow"
    )
    text.append("machine's root.\n", style="yellow")
    return text


def show(status: Status, network: Network | None) -> None:
    """Print the table and, for a ready network, what to do with it."""
    console = Console(stderr=True, highlight=False)
    console.print(Group(services_table(status), next_steps(network)) if network else services_table(status))
