"""Settings of the CAS. Inside its enclave they come from the environment: the measured manifest fixes ``anchors``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from adyton.attestation.anchors import TrustAnchor
from adyton.base.errors import InputError
from adyton.base.settings import Settings
from adyton.cas.store.audit import REFUSALS_PER_S
from adyton.cas.store.head import Anchor


def _comma_list(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]
KeyHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Port = Annotated[int, Field(ge=0, le=65535)]


class CasSettings(Settings):
    """One CAS.

    Attributes:
        host: address that both ports listen on.
        rest_port, attested_port: TCP ports; 0 lets the system choose.
        database: folder of the sealed state.
        pccs_url: certificate service of the platforms whose evidence is judged.
        anchors: accepted roots, comma-separated: ``intel``, ``sim:<fingerprint>``. What no session can widen.
        profile: ``production`` does not start with a simulated root among ``anchors``; ``development`` does.
        names: more host names and addresses for the REST server's certificate, comma-separated.
        admins: key hashes of those who may have the keys rotated, comma-separated; nobody by default. Rotating shows
            nothing and loses nothing, so the host may say who.
        audit_anchor: ``NUMBER:HASH`` of an audit entry that the log must contain, as a head that was published says;
            the state is refused as rolled back otherwise. Empty: none is known.
        sessions_per_creator: how many sessions one key may keep.
        refusals_per_s: how many refused ``POST /session`` one client may have per second before it must wait.
        audited_refusals_per_s: how many refusals the audit log takes per second; beyond, they are counted in it.
        log_level: ``debug``, ``info``, ``warning`` or ``error``.
    """

    env_prefix: ClassVar[str] = "ADYTON_CAS_"

    host: str = "127.0.0.1"
    rest_port: Port = 8081
    attested_port: Port = 18765
    database: Path
    pccs_url: Annotated[str, Field(pattern=r"^https?://")]
    anchors: Annotated[Names, Field(min_length=1, max_length=8)]
    profile: Literal["production", "development"] = "production"
    names: Annotated[Names, Field(max_length=32)] = ("localhost", "127.0.0.1")
    admins: Annotated[tuple[KeyHash, ...], BeforeValidator(_comma_list), Field(max_length=32)] = ()
    audit_anchor: str = ""
    sessions_per_creator: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    refusals_per_s: Annotated[float, Field(gt=0, le=100_000)] = 2.0
    audited_refusals_per_s: Annotated[float, Field(gt=0, le=100_000)] = REFUSALS_PER_S
    log_level: Annotated[str, Field(pattern=r"^(?:debug|info|warning|error)$")] = "info"

    @field_validator("anchors")
    @classmethod
    def _known_anchors(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            try:
                TrustAnchor(value)
            except InputError as error:
                raise ValueError(f"{error.message}; {error.hint}") from None
        return values

    @field_validator("audit_anchor")
    @classmethod
    def _readable_anchor(cls, value: str) -> str:
        try:
            return str(Anchor.parse(value)) if value else ""
        except InputError as error:
            raise ValueError(f"{error.message}; {error.hint}") from None

    @property
    def expected_head(self) -> Anchor | None:
        """The audit entry that the log must contain."""
        return Anchor.parse(self.audit_anchor) if self.audit_anchor else None

    @property
    def trust_anchors(self) -> tuple[TrustAnchor, ...]:
        """The accepted roots."""
        return tuple(TrustAnchor(value) for value in self.anchors)
