"""``cas.release``: attested releases through the CAS per second, each from a fresh key and a fresh quote.

One release is what the agent in an enclave of a task does at its start: connect and get a nonce, make a key and an
RA-TLS certificate over the nonce, connect again showing it, and take its service's part of the session; the CAS judges
the quote, issues an identity and has the release on disk before it answers. Two TLS handshakes, one quote. In
``cas.release.mutual`` the enclave is one whose manifest names its CAS, as an SMS's does: it asks for the CAS's own
evidence first, over another nonce, and judges it with all its collateral, for it has never seen it before.

Quotes are of real formats and signed by simulated platforms: the enclaves' in the load, the CAS's by ``platform``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from bench.load import Generator, call_loop, drive
from bench.processes import Service
from bench.row import Row
from bench.sms_stage import Cas
from tests.cas.documents import APP, POST, PRE, iexec_document, to_yaml

from adyton.cas.client.operator import open_client
from bench import sms_stage as stage

AIM: Final = 150.0
_STAGES: Final = (("pre-compute", PRE), ("app", APP), ("post-compute", POST))


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done; tests do little."""

    seconds: float = 6.0
    sessions: int = 20
    enclaves: int = 8


FULL: Final = Size()


def measure_release(size: Size = FULL) -> Row:
    """Enclaves of tasks, which verify nothing of the CAS but that it is one key."""
    return _measure("cas.release", size, verified=False)


def measure_release_mutual(size: Size = FULL) -> Row:
    """Enclaves that verify the CAS as it verifies them."""
    return _measure("cas.release.mutual", size, verified=True)


def _measure(name: str, size: Size, *, verified: bool) -> Row:
    with ExitStack() as stack:
        folder = stack.enter_context(stage.folder())
        house = stack.enter_context(stage.certificate_authority(folder))
        cas = stack.enter_context(stage.cas_process(house))
        names = make_sessions(cas, size.sessions)
        loops = [enclave(cas, names[at:] + names[:at], verified=verified) for at in range(size.enclaves)]
        parties = {"cas": [cas.service], "platform": [Service.this()]}
        load = drive(loops, parties, seconds=size.seconds, warm_s=size.seconds / 6)
    note = (
        "the three enclaves of tasks in turn, each with a fresh key and quote, two handshakes each;"
        f" {size.enclaves} processes of enclaves; {load}; all parties on this machine"
    )
    unit = "releases/s"
    return Row(name, round(load.rate, 1), unit, f"{AIM:g} {unit} aim", round(load.rate / AIM, 2), note)


def make_sessions(cas: Cas, number: int) -> list[str]:
    """Sessions of tasks that have no end; gives their names."""
    files = cas.client("owner")
    client = open_client(cas.running.url, files.folder)
    document = iexec_document()
    names = [f"{document['name']}-{index}" for index in range(number)]
    for name in names:
        client.create(to_yaml({**document, "name": name}))
    return names


def enclave(cas: Cas, names: Sequence[str], *, verified: bool) -> Generator:
    """A generator of load: one start of an enclave after the other; ``verified``: they verify the CAS, too."""
    clients = {
        service: cas.running.enclave(cas.running.world.platform(bytes.fromhex(mrenclave)), verified=verified)
        for service, mrenclave in _STAGES
    }

    def fetch(number: int) -> None:
        service, _mrenclave = _STAGES[number % len(_STAGES)]
        clients[service].fetch(names[number // len(_STAGES) % len(names)], service)

    return call_loop(fetch)
