"""The keys of one enclave in one enclave-key secret: the one that holds, and while it is being exchanged the next one.

An enclave-key starts as one seed for all enclaves, each enclave's first key being derived from it for its measurement.
The first exchange gives the enclave a ring of its own, with random keys; the seed, from which its first key could be
derived again, is replaced then, and the present keys of the session's other enclaves are kept as rings.

Generations are counted as they are begun, so a number never stands for two keys: an exchange that was taken back
leaves a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from adyton.base.aead import derive_key, new_key
from adyton.base.errors import AdytonError
from adyton.base.secret import Secret

FIRST_GENERATION: Final = 1


class KeyExchangeRefusedError(AdytonError):
    """The exchange is not in the state that this step stands on (409)."""

    code = "cas.enclave_key.state"
    hint = "ask which keys there are, and go on from there"


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of one enclave.

    Attributes:
        generation: of the key that holds.
        key: that key, 32 bytes.
        begun: the highest generation that was ever begun.
        pending: the key of generation ``begun``, while it is not known whether it will hold.
    """

    generation: int
    key: Secret[bytes]
    begun: int
    pending: Secret[bytes] | None = None

    def begin(self) -> KeyRing:
        """With a new random key pending.

        Raises:
            KeyExchangeRefusedError: one is pending; dropping it could drop what a database was just put under.
        """
        if self.pending is not None:
            raise KeyExchangeRefusedError(
                f"generation {self.begun} of this key is pending",
                code="cas.enclave_key.pending",
                hint="commit it if the data are under it, abort it if they are not",
            )
        return replace(self, begun=self.begun + 1, pending=new_key())

    def commit(self, generation: int) -> KeyRing:
        """With the pending key in the place of the one before, which is gone; itself when that was done already.

        Raises:
            KeyExchangeRefusedError: another generation, or none, is pending.
        """
        if self.pending is not None and generation == self.begun:
            return KeyRing(self.begun, self.pending, self.begun)
        if generation == self.generation:
            return self
        raise KeyExchangeRefusedError(f"generation {generation} of this key is not pending")

    def abort(self, generation: int) -> KeyRing:
        """Without the pending key; itself when that generation is not pending.

        Raises:
            KeyExchangeRefusedError: that generation holds: there is no way back from it.
        """
        if generation == self.generation:
            raise KeyExchangeRefusedError(f"generation {generation} of this key holds already")
        return replace(self, pending=None) if generation == self.begun else self

    def to_plain(self) -> dict[str, Any]:
        """As JSON values, for encryption only."""
        return {
            "generation": self.generation,
            "key": self.key.reveal().hex(),
            "begun": self.begun,
            "pending": "" if self.pending is None else self.pending.reveal().hex(),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> KeyRing:
        """The inverse of :meth:`to_plain`; the input was authenticated by decryption."""
        pending = plain["pending"]
        return cls(
            plain["generation"],
            Secret(bytes.fromhex(plain["key"])),
            plain["begun"],
            Secret(bytes.fromhex(pending)) if pending else None,
        )


@dataclass(frozen=True, slots=True)
class EnclaveKeys:
    """One enclave-key secret: the keys of all enclaves.

    Attributes:
        name: of the secret; goes into what is derived from the seed.
        seed: what the keys of enclaves without a ring are derived from.
        rings: by measurement (lowercase hex).
    """

    name: str
    seed: Secret[bytes]
    rings: Mapping[str, KeyRing]

    def ring(self, mrenclave: bytes) -> KeyRing:
        """The keys of one enclave."""
        found = self.rings.get(mrenclave.hex())
        if found is not None:
            return found
        key = derive_key(self.seed, "cas/enclave-key/1", self.name.encode(), mrenclave)
        return KeyRing(FIRST_GENERATION, key, FIRST_GENERATION)

    def with_ring(self, mrenclave: bytes, ring: KeyRing, others: Iterable[bytes]) -> EnclaveKeys:
        """With another ring for one enclave; the seed is replaced where the enclave's key before was derived from it.

        Args:
            mrenclave: whose.
            ring: its keys from now on.
            others: measurements of the other enclaves of the session, which keep their keys.
        """
        rings = {**self.rings, mrenclave.hex(): ring}
        before = self.rings.get(mrenclave.hex())
        derived = FIRST_GENERATION if before is None else before.generation
        if derived != FIRST_GENERATION or ring.generation == FIRST_GENERATION:
            return replace(self, rings=rings)
        for other in others:
            rings.setdefault(other.hex(), self.ring(other))
        return EnclaveKeys(self.name, new_key(), rings)
