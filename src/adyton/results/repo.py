"""What the results service remembers: tokens, workers' authorizations, stored results, names of images."""

from __future__ import annotations

from sqlalchemy import Column, Engine, Float, Index, Integer, MetaData, String, Table, delete, insert, select
from sqlalchemy.exc import IntegrityError

from adyton.base.types import Address, Bytes32
from adyton.results.rules import Authorization

_METADATA = MetaData()
_TOKENS = Table("token", _METADATA, Column("wallet", String(42), primary_key=True), Column("token", String(1024)))
_AUTHORIZATIONS = Table(
    "authorization",
    _METADATA,
    Column("task_id", String(66), primary_key=True),
    Column("worker", String(42), primary_key=True),
    Column("enclave_challenge", String(42), nullable=False),
    Column("signature", String(200), nullable=False),
)
_RESULTS = Table(
    "result",
    _METADATA,
    Column("task_id", String(66), primary_key=True),
    Column("cid", String(100), nullable=False),
    Column("uploader", String(42), nullable=False),
    Column("size", Integer, nullable=False),
    Column("stored_at", Float, nullable=False),
)
_MANIFESTS = Table(
    "manifest",
    _METADATA,
    Column("repository", String(255), primary_key=True),
    Column("digest", String(71), primary_key=True),
    Column("media_type", String(128), nullable=False),
)
_TAGS = Table(
    "tag",
    _METADATA,
    Column("repository", String(255), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("digest", String(71), nullable=False),
    Index("ix_tag_repository", "repository"),
)


class Repo:
    """The service's tables in one database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        _METADATA.create_all(engine)

    def token(self, wallet: Address) -> str | None:
        """The one token of a wallet."""
        with self.engine.connect() as db:
            return db.scalar(select(_TOKENS.c.token).where(_TOKENS.c.wallet == wallet))

    def keep_token(self, wallet: Address, token: str) -> str:
        """Keep ``token`` unless the wallet has one; returns the one it has now."""
        try:
            with self.engine.begin() as db:
                db.execute(insert(_TOKENS).values(wallet=wallet, token=token))
        except IntegrityError:
            kept = self.token(wallet)
            return kept if kept is not None else self.keep_token(wallet, token)
        return token

    def keep_authorization(self, authorization: Authorization) -> None:
        """Remember a worker's authorization for a task; a new one replaces an old one."""
        key = (
            _AUTHORIZATIONS.c.task_id == authorization.task_id,
            _AUTHORIZATIONS.c.worker == authorization.worker,
        )
        with self.engine.begin() as db:
            db.execute(delete(_AUTHORIZATIONS).where(*key))
            db.execute(
                insert(_AUTHORIZATIONS).values(
                    task_id=authorization.task_id,
                    worker=authorization.worker,
                    enclave_challenge=authorization.enclave_challenge,
                    signature=authorization.signature,
                )
            )

    def authorizations(self, task_id: Bytes32) -> list[Authorization]:
        """All authorizations of a task."""
        with self.engine.connect() as db:
            rows = db.execute(select(_AUTHORIZATIONS).where(_AUTHORIZATIONS.c.task_id == task_id)).all()
        return [Authorization(row.task_id, row.worker, row.enclave_challenge, row.signature) for row in rows]

    def result(self, task_id: Bytes32) -> str | None:
        """The CID of a task's result."""
        with self.engine.connect() as db:
            return db.scalar(select(_RESULTS.c.cid).where(_RESULTS.c.task_id == task_id))

    def keep_result(self, task_id: Bytes32, cid: str, uploader: Address, size: int, now: float) -> bool:
        """Record the first result of a task and use its authorizations up; False when it has one already."""
        try:
            with self.engine.begin() as db:
                db.execute(
                    insert(_RESULTS).values(task_id=task_id, cid=cid, uploader=uploader, size=size, stored_at=now)
                )
                db.execute(delete(_AUTHORIZATIONS).where(_AUTHORIZATIONS.c.task_id == task_id))
        except IntegrityError:
            return False
        return True

    def keep_manifest(self, repository: str, digest: str, media_type: str, tag: str | None) -> None:
        """Record that a repository has a manifest, and which tag names it now."""
        with self.engine.begin() as db:
            key = (_MANIFESTS.c.repository == repository, _MANIFESTS.c.digest == digest)
            db.execute(delete(_MANIFESTS).where(*key))
            db.execute(insert(_MANIFESTS).values(repository=repository, digest=digest, media_type=media_type))
            if tag is not None:
                db.execute(delete(_TAGS).where(_TAGS.c.repository == repository, _TAGS.c.name == tag))
                db.execute(insert(_TAGS).values(repository=repository, name=tag, digest=digest))

    def manifest(self, repository: str, reference: str) -> tuple[str, str] | None:
        """Digest and media type of the manifest that a tag or digest names."""
        query = select(_MANIFESTS.c.digest, _MANIFESTS.c.media_type).where(_MANIFESTS.c.repository == repository)
        if reference.startswith("sha256:"):
            query = query.where(_MANIFESTS.c.digest == reference)
        else:
            named = select(_TAGS.c.digest).where(_TAGS.c.repository == repository, _TAGS.c.name == reference)
            query = query.where(_MANIFESTS.c.digest == named.scalar_subquery())
        with self.engine.connect() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else (row.digest, row.media_type)

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository, sorted."""
        with self.engine.connect() as db:
            return list(db.scalars(select(_TAGS.c.name).where(_TAGS.c.repository == repository).order_by(_TAGS.c.name)))
