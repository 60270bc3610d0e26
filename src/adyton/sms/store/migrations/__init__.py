"""The schema's versions, one module each, run by alembic at the start of every process.

All steps that are due run in one transaction under the database's writer lock: of several processes that start at
once, one migrates and the others find it done; a crash in the middle leaves the old schema. There is no way back: a
database of a newer schema is refused, as an older service could damage what it does not know.

The revisions are listed here instead of found in a folder, because in an enclave's image there are no source files.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, inspect, text

from adyton.base.db import lock_for_writing
from adyton.base.errors import AdytonError
from adyton.base.secret import Secret
from adyton.sms.store.migrations import v0001_first, v0002_bound_rows

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

REVISIONS: Final[tuple[ModuleType, ...]] = (v0001_first, v0002_bound_rows)
"""In order; each module has ``revision``, ``down_revision`` and ``upgrade(op, key)``."""

_LOCK_WAIT_MS: Final = 600_000  # another process may be rewriting every row
_VERSION_TABLE: Final = "alembic_version"


class SchemaError(AdytonError):
    """The database's schema is one that this version of the service does not know."""

    code = "sms.schema.unknown"


def migrate(engine: Engine, key: Secret[bytes], revisions: Sequence[ModuleType] = REVISIONS) -> None:
    """Bring the database to the last of ``revisions``; a new one is made.

    Args:
        engine: the database.
        key: its master key, for steps that rewrite encrypted rows.
        revisions: the schema's versions, oldest first.

    Raises:
        SchemaError: made by a newer version of the service; the database is untouched.
        DatabaseKeyError, DatabaseRowError, AuditError: a step found what this key did not write; likewise untouched.
        sqlalchemy.exc.SQLAlchemyError: the database failed.
    """
    with engine.connect() as db:
        if _current(db) == revisions[-1].revision:  # nearly always; and alembic is slow to import
            return
    with engine.begin() as db:
        lock_for_writing(db, _LOCK_WAIT_MS)
        current = _current(db)
        known = [str(module.revision) for module in revisions]
        if current and current not in known:
            raise SchemaError(
                f"the database has schema {current}; this service knows up to {known[-1]}",
                hint="start the version that made this database, or a newer one; or restore a backup of before",
            )
        due = revisions[known.index(current) + 1 :] if current else revisions
        if due:
            _upgrade(db, key, revisions, due)


def _current(db: Connection) -> str:
    if not inspect(db).has_table(_VERSION_TABLE):
        return ""
    found = db.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalars().all()  # noqa: S608  # a constant
    return str(found[0]) if found else ""


def _upgrade(db: Connection, key: Secret[bytes], revisions: Sequence[ModuleType], due: Sequence[ModuleType]) -> None:
    from alembic.operations import Operations  # noqa: PLC0415  # half a second, and rarely needed
    from alembic.runtime.migration import MigrationContext, MigrationStep  # noqa: PLC0415
    from alembic.script import Script  # noqa: PLC0415
    from alembic.script.revision import RevisionMap  # noqa: PLC0415

    scripts = {module.revision: Script(module, module.revision, module.__name__) for module in revisions}
    revision_map = RevisionMap(lambda: list(scripts.values()))

    def steps(_heads: Any, _context: MigrationContext) -> list[Any]:  # noqa: ANN401  # alembic's own types
        return [MigrationStep.upgrade_from_script(revision_map, scripts[module.revision]) for module in due]

    if len(revision_map.heads) != 1:  # reading it also makes alembic join the revisions
        raise SchemaError(f"the schema's versions have {len(revision_map.heads)} ends")
    context = MigrationContext.configure(db, opts={"fn": steps})
    context.run_migrations(op=Operations(context), key=key)
