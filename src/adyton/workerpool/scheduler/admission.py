"""Who may come in as a worker: whitelist, challenge, signature, token (pool reference 3.1; the texts are ours)."""

from __future__ import annotations

from adyton.base.types import Address
from adyton.chain.wallet import SignatureError, recover_personal
from adyton.workerpool.scheduler.tokens import Challenges, TokenIssuer
from adyton.workerpool.wire import login_challenge, login_message


class Admission:
    """Logs workers in.

    Args:
        pool: the workerpool, which the challenge names.
        whitelist: wallets that may come in; empty means all.
        tokens: makes the tokens.
        challenges: one for each wallet.
    """

    def __init__(
        self, pool: Address, whitelist: frozenset[Address], tokens: TokenIssuer, challenges: Challenges
    ) -> None:
        self.tokens = tokens
        self._pool = pool
        self._whitelist = whitelist
        self._challenges = challenges

    def is_admitted(self, wallet: Address) -> bool:
        """Whether the whitelist admits a wallet."""
        return not self._whitelist or wallet in self._whitelist

    def challenge(self, wallet: Address) -> str:
        """The text that a worker signs to log in."""
        return login_challenge(self._pool, wallet, self._challenges.get(wallet))

    def login(self, wallet: Address, signature: str) -> str | None:
        """A token for a good signature over the current challenge, which is used up; None otherwise."""
        nonce = self._challenges.peek(wallet)
        if nonce is None or not self.is_admitted(wallet):
            return None
        message = login_message(login_challenge(self._pool, wallet, nonce))
        try:
            if recover_personal(message, signature) != wallet:
                return None
        except SignatureError:
            return None
        return self.tokens.issue(wallet) if self._challenges.burn(wallet, nonce) else None
