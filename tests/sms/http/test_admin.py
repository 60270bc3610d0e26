"""Every row of protocol section 1.7, over a real socket and real folders."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.sms.support import DATASET, Service, running

from adyton.base.errors import AdytonError, UnavailableError
from adyton.sms.backup.backups import FileBackups, Maintenance
from adyton.sms.errors import BackupBusyError, BackupError, BackupNotFoundError

KEY = "the-operators-key"


@dataclass
class FolderArchive:
    """An archive of one text, whose reading can be made to wait or to fail."""

    state: str = "one"
    reading: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    error: AdytonError | None = None

    def __post_init__(self) -> None:
        self.go_on.set()

    def write(self, data: Path, key: Path) -> None:
        if self.error is not None:
            raise self.error
        data.write_text(self.state)
        key.write_text("key of " + self.state)

    def read(self, data: Path, key: Path) -> None:
        self.reading.set()
        assert self.go_on.wait(10)
        if self.error is not None:
            raise self.error
        assert key.read_text() == "key of " + data.read_text()
        self.state = data.read_text()


@dataclass(frozen=True)
class Operator:
    """Who calls the admin operations."""

    service: Service
    location: Path
    archive: FolderArchive

    def send(self, method: str, path: str, key: str | None = KEY, **query: str) -> httpx2.Response:
        headers = {} if key is None else {"X-API-KEY": key}
        return self.service.http.request(method, f"/admin{path}", headers=headers, params=query)

    def folder(self, name: str = "") -> str:
        folder = self.location / name
        folder.mkdir(exist_ok=True)
        return str(folder).encode().hex()

    def backup(self) -> None:
        assert self.send("POST", "/backup").status_code == 201


@contextmanager
def operating(folder: Path, **changes: Any) -> Iterator[Operator]:  # noqa: ANN401  # any settings
    location, archive = folder / "backups", FolderArchive()
    location.mkdir()
    settings: dict[str, Any] = {
        "admin_api_key": KEY,
        "admin_storage_location": location,
        "requests_per_s": 1000,
    } | changes
    with running(folder, archive=archive, **settings) as service:
        yield Operator(service, location, archive)


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    with operating(tmp_path) as started:
        yield started


OPERATIONS = [
    ("POST", "/backup", {}),
    ("POST", "/{id}/replicate-backup", {"fileName": "copy"}),
    ("POST", "/{id}/restore-backup", {"fileName": "copy"}),
    ("DELETE", "/{id}/delete-backup", {"fileName": "copy"}),
    ("POST", "/{id}/copy-to/{id}", {"sourceFileName": "copy"}),
]
every_operation = pytest.mark.parametrize(
    ("method", "path", "query"), OPERATIONS, ids=[path.rpartition("/")[2] for _, path, _ in OPERATIONS[:4]] + ["copy"]
)


# -- the key ------------------------------------------------------------------------------------------------------


@every_operation
def test_without_a_configured_key_all_is_disabled(
    tmp_path: Path, method: str, path: str, query: dict[str, str]
) -> None:
    with operating(tmp_path, admin_api_key=None) as operator:
        answer = operator.send(method, path.replace("{id}", operator.folder()), **query)
        assert (answer.status_code, answer.text) == (403, "This endpoint is disabled.")
        assert operator.send("GET", "/nothing-here").status_code == 403


@every_operation
@pytest.mark.parametrize("key", [None, "", "wrong", KEY[:-1], KEY + "x", "\u00e9"])
def test_a_wrong_key_is_401(operator: Operator, method: str, path: str, query: dict[str, str], key: str | None) -> None:
    headers = {} if key is None else {b"x-api-key": key.encode()}
    answer = operator.service.http.request(
        method,
        "/admin" + path.replace("{id}", operator.folder()),
        headers=headers,
        params=query,
    )
    assert (answer.status_code, answer.text) == (401, "You are not authorized to access this endpoint.")
    assert list(operator.location.iterdir()) == []


def test_the_key_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "admin-key"
    with operating(tmp_path, admin_api_key=None, admin_api_key_file=file) as operator:
        assert operator.send("POST", "/backup").status_code == 403
        file.write_text(KEY + "\n")
        operator.backup()


def test_guesses_are_limited(tmp_path: Path) -> None:
    with operating(tmp_path, requests_per_s=1) as operator:
        assert [operator.send("POST", "/backup", f"guess{n}").status_code for n in range(6)] == [401] * 4 + [429] * 2


def test_no_cors_and_no_get(operator: Operator) -> None:
    origin = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    preflight = operator.service.http.options("/admin/backup", headers=origin)
    assert "access-control-allow-origin" not in preflight.headers
    assert operator.send("GET", "/backup").status_code == 405
    assert operator.send("GET", "/nothing-here").status_code == 404


# -- the operations -----------------------------------------------------------------------------------------------


def test_the_way_of_a_backup(operator: Operator) -> None:
    operator.backup()
    work = operator.location / "work"
    assert {file.name for file in work.iterdir()} == {"backup.sql", "backup.sql.key"}
    operator.archive.state = "two"
    operator.backup()  # overwrites
    assert (work / "backup.sql").read_text() == "two"
    first, second = operator.folder("first"), operator.folder("second")
    assert operator.send("POST", f"/{first}/replicate-backup", fileName="b1").status_code == 200
    copied = operator.send("POST", f"/{first}/copy-to/{second}", sourceFileName="b1")
    renamed = operator.send("POST", f"/{first}/copy-to/{second}", sourceFileName="b1", destinationFileName="b2")
    assert (copied.status_code, renamed.status_code) == (200, 200)
    assert {file.name for file in (operator.location / "second").iterdir()} == {"b1", "b1.key", "b2", "b2.key"}
    operator.archive.state = "three"
    assert operator.send("POST", f"/{second}/restore-backup", fileName="b2").status_code == 200
    assert operator.archive.state == "two"
    assert operator.send("DELETE", f"/{second}/delete-backup", fileName="b2").status_code == 200
    assert {file.name for file in (operator.location / "second").iterdir()} == {"b1", "b1.key"}


def test_replicating_again_replaces(operator: Operator) -> None:
    target = operator.folder("target")
    for state in ("one", "two"):
        operator.archive.state = state
        operator.backup()
        assert operator.send("POST", f"/{target}/replicate-backup", fileName="b").status_code == 200
    assert (operator.location / "target" / "b.key").read_text() == "key of two"


def test_a_copy_never_overwrites(operator: Operator) -> None:
    operator.backup()
    work, target = operator.folder("work"), operator.folder("target")
    (operator.location / "target" / "b.key").write_text("precious")
    query = {"sourceFileName": "backup.sql", "destinationFileName": "b"}
    assert operator.send("POST", f"/{work}/copy-to/{target}", **query).status_code == 500
    assert [file.name for file in (operator.location / "target").iterdir()] == ["b.key"]
    assert (operator.location / "target" / "b.key").read_text() == "precious"


@pytest.mark.parametrize("missing", ["", ".key"])
def test_a_restore_needs_both_files(operator: Operator, missing: str) -> None:
    operator.backup()
    (operator.location / "work" / f"backup.sql{missing}").unlink()
    work = operator.folder("work")
    assert operator.send("POST", f"/{work}/restore-backup", fileName="backup.sql").status_code == 404
    assert operator.send("POST", f"/{work}/replicate-backup", fileName="x").status_code == 404
    assert operator.send("POST", f"/{work}/copy-to/{work}", sourceFileName="backup.sql").status_code == 404
    # what is left of it is deleted, and said to have been half
    assert operator.send("DELETE", f"/{work}/delete-backup", fileName="backup.sql").status_code == 500
    assert list((operator.location / "work").iterdir()) == []
    assert operator.send("DELETE", f"/{work}/delete-backup", fileName="backup.sql").status_code == 404


def test_an_archive_that_fails_is_500_and_the_service_is_back(operator: Operator) -> None:
    operator.backup()
    operator.archive.error = UnavailableError("no disk")
    assert operator.send("POST", "/backup").status_code == 500
    work = operator.folder("work")
    assert operator.send("POST", f"/{work}/restore-backup", fileName="backup.sql").status_code == 500
    assert (operator.location / "work" / "backup.sql").read_text() == "one"
    assert operator.service.send("HEAD", "/secrets/web3", secretAddress=DATASET).status_code == 404


def test_only_one_operation_at_a_time_and_offline_meanwhile(operator: Operator) -> None:
    operator.backup()
    work, service = operator.folder("work"), operator.service
    operator.archive.go_on.clear()
    answers: list[int] = []

    def restore() -> None:
        answers.append(operator.send("POST", f"/{work}/restore-backup", fileName="backup.sql").status_code)

    thread = threading.Thread(target=restore)
    thread.start()
    try:
        assert operator.archive.reading.wait(10)
        for method, path, query in OPERATIONS:
            assert operator.send(method, path.replace("{id}", work), **query).status_code == 429
        for path in ("/secrets/web3", "/apps/0x1/secrets", "/requesters/0x1/secrets/k", "/tee/framework"):
            answer = service.http.get(path)
            assert answer.status_code == 503
            assert answer.text == ("The server is temporarily unable to serve your request due to maintenance downtime")
        assert service.http.get("/version").status_code == 200
        assert service.http.get("/actuator/health").status_code == 200
    finally:
        operator.archive.go_on.set()
        thread.join()
    assert answers == [200]
    assert service.http.get("/tee/framework").status_code == 200


# -- wrong places -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "query"), OPERATIONS[1:])
def test_blank_parameters_are_400(operator: Operator, method: str, path: str, query: dict[str, str]) -> None:
    folder = operator.folder()
    assert operator.send(method, path.replace("{id}", folder), **dict.fromkeys(query, " ")).status_code == 400
    assert operator.send(method, path.replace("{id}", folder)).status_code == 400
    assert operator.send(method, path.replace("{id}", "%20"), **query).status_code == 400


def outside(folder: Path) -> dict[str, tuple[str, int]]:
    """Storage ids and what they are answered with."""
    location = folder / "backups"
    (folder / "backups-too").mkdir()
    (location / "link").symlink_to(folder / "backups-too")

    def text(path: object) -> str:
        return str(path).encode().hex()

    return {
        "not hex": ("zz", 400),
        "odd hex": ("2f6", 400),
        "not ASCII": ("c3a9", 400),
        "relative": (text("backups"), 400),
        "the root": (text("/"), 400),
        "a sibling with the same prefix": (text(folder / "backups-too"), 400),
        "dots": (text(f"{location}/../backups-too"), 400),
        "a link that leads out": (text(location / "link"), 400),
        "a NUL": (text(f"{location}\0"), 400),
        "outside and not there": (text("/nowhere/at/all"), 400),
        "longer than a name": (text(location / ("n" * 300)), 400),
        "not there": (text(location / "none"), 404),
    }


@pytest.mark.parametrize(("method", "path", "query"), OPERATIONS[1:])
def test_folders_outside_are_refused(operator: Operator, method: str, path: str, query: dict[str, str]) -> None:
    operator.backup()
    (operator.location.parent / "precious").write_text("kept")
    for name, (storage, status) in outside(operator.location.parent).items():
        answer = operator.send(method, path.replace("{id}", storage), **query)
        assert answer.status_code == status, name
    assert list((operator.location.parent / "backups-too").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../precious", "..", ".", "a/b", "/etc/passwd", "a\0b", "n" * 201, "\u00fc" * 101, "back\\slash"]
)
def test_names_that_lead_elsewhere_are_refused(operator: Operator, name: str) -> None:
    operator.backup()
    precious = operator.location / "precious"
    precious.write_text("kept")
    work = operator.folder("work")
    for method, path, query in OPERATIONS[1:]:
        asked = dict.fromkeys(query, name)
        assert operator.send(method, path.replace("{id}", work), **asked).status_code == 400
    query = {"sourceFileName": "backup.sql", "destinationFileName": name}
    assert operator.send("POST", f"/{work}/copy-to/{work}", **query).status_code == 400
    assert precious.read_text() == "kept"
    assert {file.name for file in (operator.location / "work").iterdir()} == {"backup.sql", "backup.sql.key"}


def test_a_backup_that_is_a_link_is_not_read(operator: Operator) -> None:
    operator.backup()
    secret = operator.location.parent / "secret"
    secret.write_text("of the host")
    for name in ("planted", "planted.key"):
        (operator.location / "work" / name).symlink_to(secret)
    work = operator.folder("work")
    assert operator.send("POST", f"/{work}/restore-backup", fileName="planted").status_code == 404
    query = {"sourceFileName": "planted", "destinationFileName": "taken"}
    assert operator.send("POST", f"/{work}/copy-to/{work}", **query).status_code == 404


# -- without HTTP -------------------------------------------------------------------------------------------------


def test_a_service_without_archive_says_so(tmp_path: Path) -> None:
    backups = FileBackups(tmp_path, None, Maintenance())
    with pytest.raises(BackupError) as caught:
        backups.create()
    assert caught.value.code == "sms.backup.unavailable"
    with pytest.raises(BackupNotFoundError):
        backups.restore(str(tmp_path).encode().hex(), "none")


def test_a_location_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackupError):
        FileBackups(tmp_path / "file", FolderArchive(), Maintenance()).create()


def test_busy_is_its_own_error(tmp_path: Path) -> None:
    archive = FolderArchive()
    backups = FileBackups(tmp_path, archive, Maintenance())
    backups.create()
    archive.go_on.clear()
    storage = str(tmp_path / "work").encode().hex()
    thread = threading.Thread(target=backups.restore, args=(storage, "backup.sql"))
    thread.start()
    try:
        assert archive.reading.wait(10)
        with pytest.raises(BackupBusyError):
            backups.create()
    finally:
        archive.go_on.set()
        thread.join()
