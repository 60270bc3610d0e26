"""Whose signature it is: an account's (ECDSA), or a contract account's (ERC-1271).

A malformed signature is refused here and costs nothing. One that is well-formed but not by the account that it should
be by may still be a contract account's, and only the chain knows; so that a flood of such ones does not become a flood
of calls, an address that was found to be no contract is remembered for a minute, and each client has a budget of such
questions.

What is signed is always the EIP-191 digest of the challenge, for contracts too, as wallets' ``signMessage`` and PoCo's
own checks of authorizations do.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from adyton.base.aead import bind
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import InputError
from adyton.base.types import Address, Bytes32, parse_address, word_bytes
from adyton.chain.wallet import SIGNATURE_BYTES, personal_digest
from adyton.sms.access import recipes
from adyton.sms.errors import NotAllowedError, TooManyRequestsError
from adyton.web.limits import RateLimiter

MAX_SIGNATURE_BYTES: Final = 2048  # of a contract account; passkey wallets make some 700
_HEX: Final = re.compile(r"(?:0[xX])?((?:[0-9a-fA-F]{2})+)")
_PLAIN_FOR_S: Final = 60  # seconds for which an address counts as no contract
_MAX_PLAIN: Final = 10_000
_REMEMBERED: Final = 256  # signatures: those of the requests that are in work
_MARK_DOMAIN: Final = b"adyton/sms/erc1271-write/1"


@dataclass(frozen=True, slots=True)
class Credential:
    """A signature as it came in, and whom its request is counted for."""

    signature: str
    client: str = ""


class ContractAccounts(Protocol):
    """Asks contract accounts about signatures."""

    def accepts_signature(self, account: Address, digest: bytes, signature: bytes) -> bool | None:
        """ERC-1271's answer; None when ``account`` is no contract that has one.

        Raises:
            UnavailableError: the chain cannot be read.
        """


class Signatures:
    """Judges signatures.

    Args:
        chain: where contract accounts are.
        checks_per_s: questions to contracts that one client may cause per second.
        clock: source of time.
    """

    def __init__(self, chain: ContractAccounts, checks_per_s: float, *, clock: Clock = utc_now) -> None:
        self._chain = chain
        self._limiter = RateLimiter(checks_per_s, clock=clock)
        self._clock = clock
        self._plain: OrderedDict[Address, float] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, challenge: Bytes32, credential: Credential, account: str) -> bytes:
        """Check that ``account`` signed ``challenge``.

        Returns:
            What identifies the signed act, to be remembered where it may happen once: an account's signature; for a
            contract, whose signatures anybody may be able to vary, account and challenge.

        Raises:
            NotAllowedError: malformed, or by somebody else.
            TooManyRequestsError: the client has asked too many contracts.
            UnavailableError: the chain had to be asked and cannot be read.
        """
        found = _read(challenge, credential.signature)
        if found is None:
            raise NotAllowedError("the signature is malformed")
        raw, signer = found
        try:
            owner = parse_address(account)
        except InputError:
            raise NotAllowedError(f"{account[:64]!r} is no address") from None
        if signer == owner:
            return raw
        if self._contract_accepts(owner, challenge, raw, credential.client):
            return bind(_MARK_DOMAIN, owner.lower().encode(), word_bytes(challenge))
        raise NotAllowedError(f"the signature is not by {owner}")

    def _contract_accepts(self, owner: Address, challenge: Bytes32, raw: bytes, client: str) -> bool:
        now = self._clock().timestamp()
        with self._lock:
            if self._plain.get(owner, 0.0) > now:
                return False
        allowance = self._limiter.take(client)
        if not allowance.allowed:
            raise TooManyRequestsError(
                "too many signatures by other accounts than the requests name",
                code="sms.rate.signatures",
                retry_after_s=allowance.reset_s,
            )
        accepted = self._chain.accepts_signature(owner, personal_digest(word_bytes(challenge)), raw)
        if accepted is None:
            with self._lock:
                self._plain[owner] = now + _PLAIN_FOR_S
                if len(self._plain) > _MAX_PLAIN:
                    self._plain.popitem(last=False)
        return accepted is True


def well_formed(challenge: Bytes32, signature: str) -> bytes | None:
    """The bytes of what can be a signature over ``challenge``: 65 bytes that name a signer, or a longer one."""
    found = _read(challenge, signature)
    return None if found is None else found[0]


@lru_cache(maxsize=_REMEMBERED)  # a request's signature is looked at before the chain is asked, and after
def _read(challenge: Bytes32, signature: str) -> tuple[bytes, Address | None] | None:
    """A signature's bytes and whom it names; a longer one than an account's names nobody. None: it cannot be one."""
    match = _HEX.fullmatch(signature)
    if match is None or not SIGNATURE_BYTES * 2 <= len(match[1]) <= MAX_SIGNATURE_BYTES * 2:
        return None
    raw = bytes.fromhex(match[1])
    signer = recipes.signer_of(challenge, signature) if len(raw) == SIGNATURE_BYTES else None
    return None if len(raw) == SIGNATURE_BYTES and signer is None else (raw, signer)
