"""Having the database key exchanged: what the database asks, and the CAS as who answers.

The CAS keeps the key of each generation for this enclave alone. An exchange is begun, the rows are sealed anew under
the pending key, and it is committed, which destroys the key before it. Until then the CAS has both, so whoever opens
the database finds out by its marker which of them it is under.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.secret import Secret
from adyton.cas.client.answers import EnclaveKeys
from adyton.cas.client.enclaves import AttestationRefusedError, AttestedClient, own_place

if TYPE_CHECKING:
    from adyton.attestation.ratls.certificate import EvidenceSource
    from adyton.sms.settings import SmsSettings

UNKNOWN_GENERATION: Final = 0


class KeyExchangeError(UnavailableError):
    """The CAS did not take a step of an exchange; the database is consistent, and asking again goes on from there."""

    code = "sms.keys.unfinished"
    hint = "ask again once the CAS answers; a start of the service finishes the exchange or takes it back, too"


class KeyStateError(AdytonError):
    """The exchange is not where the step stands on: another database is kept under the same CAS session."""

    code = "sms.keys.state"
    hint = "give each database a CAS session of its own: an exchange for one closes the other for good"


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A database key, and which one in the row of its exchanges; 0 where nobody said."""

    key: Secret[bytes]
    generation: int = UNKNOWN_GENERATION


class KeyExchange(Protocol):
    """Who keeps the database key.

    Every method raises :class:`KeyExchangeError` when there is no answer, and :class:`KeyStateError` when the step does
    not fit; repeating one is safe.
    """

    def keys(self) -> EnclaveKeys:
        """The key that holds, and the pending one."""

    def begin(self) -> EnclaveKeys:
        """With a new pending key; none may be pending."""

    def commit(self, generation: int) -> EnclaveKeys:
        """With the pending key holding; the one before is gone."""

    def abort(self, generation: int) -> EnclaveKeys:
        """Without the pending key."""


class CasKeyExchange:
    """The CAS that configured this enclave; every step attests anew.

    Args:
        client: of its attested port.
        session: name of the session.
        service: what this enclave is in it.
        secret: the enclave-key secret that is the database key.
    """

    def __init__(self, client: AttestedClient, session: str, service: str, secret: str) -> None:
        self._client = client
        self._place = (session, service, secret)

    @classmethod
    def of(cls, settings: SmsSettings, source: EvidenceSource) -> CasKeyExchange:
        """The exchange with the CAS that the measured manifest names, through the enclave's own way to it.

        Raises:
            InputError: the identity that the CAS gave this enclave cannot be read.
        """
        session, service = own_place(settings.identity_file)
        return cls(AttestedClient.measured(source), session, service, settings.database_key_name)

    def keys(self) -> EnclaveKeys:
        """See :class:`KeyExchange`."""
        return self._step("show")

    def begin(self) -> EnclaveKeys:
        """See :class:`KeyExchange`."""
        return self._step("begin")

    def commit(self, generation: int) -> EnclaveKeys:
        """See :class:`KeyExchange`."""
        return self._step("commit", generation)

    def abort(self, generation: int) -> EnclaveKeys:
        """See :class:`KeyExchange`."""
        return self._step("abort", generation)

    def _step(self, step: str, generation: int = 0) -> EnclaveKeys:
        try:
            return self._client.exchange_key(*self._place, step, generation)
        except AttestationRefusedError as error:
            raise KeyStateError(f"the CAS refuses to {step} the exchange of the database key: {error.code}") from error
        except (AdytonError, OSError) as error:
            code = error.code if isinstance(error, AdytonError) else type(error).__name__
            raise KeyExchangeError(f"the CAS did not {step} the exchange of the database key: {code}") from error


def held_keys(keys: EnclaveKeys) -> Iterator[HeldKey]:
    """The keys that the database can be under, the one that holds first."""
    yield HeldKey(keys.key, keys.generation)
    if keys.pending is not None:
        yield HeldKey(keys.pending, keys.pending_generation)


def next_key(exchange: KeyExchange, held: HeldKey) -> HeldKey:
    """Begin an exchange, after finishing or taking back one that was left; for who is the database's only writer.

    Args:
        exchange: who keeps the key.
        held: what the database is under.

    Raises:
        KeyExchangeError, KeyStateError: the step was not taken.
    """
    settle(exchange, held)
    begun = exchange.begin()
    if begun.pending is None:
        raise KeyExchangeError("the CAS began an exchange without a key")
    return HeldKey(begun.pending, begun.pending_generation)


def known_key(exchange: KeyExchange, overtaken: KeyStateError, held: HeldKey) -> HeldKey:
    """A key that whoever keeps it has, after ``overtaken`` said that an exchange was overtaken; for the only writer.

    Another process of the same database may have finished it and gone on: the database is under one of the two kept
    keys then, and stays. An exchange for another database under the same session leaves a third one here.

    Raises:
        KeyStateError: such an exchange is going on, and it is open which key will hold.
        KeyExchangeError: there is no answer.
    """
    keys = exchange.keys()
    if any(held.key == kept.key for kept in held_keys(keys)):
        return held
    if keys.pending is not None:
        raise overtaken
    return HeldKey(keys.key, keys.generation)


def settle(exchange: KeyExchange, held: HeldKey, say: Callable[[str, int], None] = lambda _what, _number: None) -> None:
    """Finish or take back an exchange that was left, as the database says; for who is its only writer.

    Raises:
        KeyExchangeError, KeyStateError: the step was not taken.
    """
    keys = exchange.keys()
    if keys.pending is None:
        return
    if held.key == keys.pending:
        exchange.commit(keys.pending_generation)
        say("finished", keys.pending_generation)
    else:
        exchange.abort(keys.pending_generation)
        say("taken back", keys.pending_generation)
