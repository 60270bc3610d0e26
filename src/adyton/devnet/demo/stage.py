"""What every scene of the demonstration plays on: the network, the people, their secrets, and who tells it."""

from __future__ import annotations

from dataclasses import dataclass

from adyton.devnet.demo.owners import DemoSecrets
from adyton.devnet.demo.people import Person
from adyton.devnet.demo.report import Narrator
from adyton.devnet.network import Network
from adyton.devnet.paths import NetworkPaths


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of the demonstration."""

    narrator: Narrator
    network: Network
    paths: NetworkPaths
    cast: dict[str, Person]
    values: DemoSecrets
