"""A session client that keeps its connections: for as long as they are good, and no longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.cas.documents import small_document, to_yaml
from tests.cas.house import House, Running

from adyton.base.errors import InputError, UnavailableError
from adyton.cas.client import kept as keptclient
from adyton.cas.client.kept import KeptSessionClient
from adyton.cas.client.operator import OperatorFiles
from adyton.cas.client.tls import CasRefusedError, TlsConnection, tcp


def document(name: str, **changes: Any) -> str:  # noqa: ANN401  # any element
    return to_yaml(small_document(name=name, **changes)).decode()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[TlsConnection]:
    """The connections that the client opens, in order; they are real."""
    found: list[TlsConnection] = []

    class Noted(TlsConnection):
        def __init__(self, *arguments: Any) -> None:  # noqa: ANN401  # those of TlsConnection
            super().__init__(*arguments)
            found.append(self)

    monkeypatch.setattr(keptclient, "TlsConnection", Noted)
    return found


def client_of(cas: Running, name: str = "owner", **options: Any) -> KeptSessionClient:  # noqa: ANN401  # its own
    cas.owner(name)
    files = OperatorFiles(cas.folder / name)
    return KeptSessionClient(tcp("127.0.0.1", cas.rest_port), files.certificate, files.key, files.root, **options)


def test_sessions_go_over_one_connection(cas: Running, opened: list[TlsConnection]) -> None:
    client = client_of(cas)
    names = [f"kept-{number}" for number in range(4)]
    made = [client.create(document(name)) for name in names]
    assert [info.name for info in made] == names
    assert len(opened) == 1
    client.close()


def test_a_refusal_is_told(cas: Running) -> None:
    client = client_of(cas)
    client.create(document("kept-refused"))
    with pytest.raises(CasRefusedError) as caught:
        client.create(document("kept-refused", version="0.3.1"))
    assert caught.value.code == "cas.session.exists"
    assert client.create(document("kept-after-refusal")).version == 1
    client.close()


def test_a_renewed_identity_is_taken_up_at_once(cas: Running, opened: list[TlsConnection]) -> None:
    client = client_of(cas, "first")
    client.create(document("kept-before"))
    other = cas.folder / "second"
    cas.owner("second")
    for name in ("cas-client.key", "cas-client.pem"):
        (other / name).replace(cas.folder / "first" / name)
    client.create(document("kept-afterwards"))
    assert len(opened) == 2
    shown = cas.owner("first").show("kept-afterwards")  # whose key is the second one's now
    assert shown.creator == cas.key_hash("first")
    client.close()


def test_one_that_is_idle_or_old_is_not_used_again(
    cas: Running, opened: list[TlsConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(cas)
    client.create(document("kept-young"))
    monkeypatch.setattr(keptclient, "_IDLE_S", 0.0)
    client.create(document("kept-idle"))
    monkeypatch.setattr(keptclient, "_IDLE_S", 60.0)
    monkeypatch.setattr(keptclient, "_AGE_S", 0.0)
    client.create(document("kept-old"))
    assert len(opened) == 3
    client.close()


def test_a_connection_that_broke_costs_no_session(cas: Running, opened: list[TlsConnection]) -> None:
    client = client_of(cas)
    client.create(document("kept-whole"))
    opened[0]._socket.shutdown(2)  # as a network does
    assert client.create(document("kept-broken")).version == 1
    assert len(opened) == 2
    client.close()


def test_a_cas_that_was_started_anew(house: House, opened: list[TlsConnection]) -> None:
    with house.open() as running:
        client = client_of(running)
        client.create(document("kept"))
    with pytest.raises(UnavailableError):
        client.create(document("kept-gone"))
    assert len(opened) == 1


def test_files_that_are_not_there(cas: Running, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    with pytest.raises(InputError) as caught:
        KeptSessionClient(tcp("127.0.0.1", cas.rest_port), nothing, nothing, nothing).create(document("kept-nowhere"))
    assert caught.value.code == "cas.client.identity"
