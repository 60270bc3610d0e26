"""What crosses the network to log in with a wallet: the challenge to sign and the token made of it.

The market, the result proxy and a scheduler's log access use the same scheme under different names (client reference
4.0): an EIP-712 document of type ``Challenge(string challenge)`` in a domain without a contract, and the token
``<digest>_<signature>_<address>``. Only externally owned accounts can log in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from adyton.base.errors import InputError
from adyton.base.types import ZERO_ADDRESS, Address, Bytes32, parse_address, parse_bytes32, to_hex
from adyton.chain.eip712 import TypedData
from adyton.chain.wallet import SignatureError, Wallet, recover_digest

MARKET_SERVICE: Final = "iExec Gateway"
RESULTS_SERVICE: Final = "iExec Result Repository"
CHALLENGE_LIFETIME_S: Final = 300
_DOMAIN_FIELDS = (("name", "string"), ("version", "string"), ("chainId", "uint256"))
_CHALLENGE_FIELDS = (("challenge", "string"),)
_MAX_TOKEN_CHARS = 400


class LoginError(InputError):
    """A login token that proves nothing."""

    code = "market.login"


class ChallengeError(InputError):
    """A service asks to sign something that is not a login challenge."""

    code = "market.challenge"


@dataclass(frozen=True, slots=True)
class LoginToken:
    """The proof that the holder of ``address`` signed one challenge."""

    digest: Bytes32
    signature: str
    address: Address

    @classmethod
    def parse(cls, text: str) -> LoginToken:
        """Read a token; parts after the third are ignored, as the reference does.

        Raises:
            LoginError: not three parts of their forms, or the zero address.
        """
        parts = text.split("_") if len(text) <= _MAX_TOKEN_CHARS else []
        try:
            digest, signature, address = parse_bytes32(parts[0]), parts[1], parse_address(parts[2])
        except (IndexError, InputError) as error:
            raise LoginError("the login token is not digest_signature_address") from error
        if address == ZERO_ADDRESS:
            raise LoginError("the login token is of the zero address")
        return cls(digest, signature, address)

    def __str__(self) -> str:
        return f"{self.digest}_{self.signature}_{self.address}"

    def check(self, challenge: TypedData) -> None:
        """Prove that ``address`` signed ``challenge``.

        Raises:
            LoginError: another document, or another signer.
        """
        if challenge.digest != self.digest:
            raise LoginError("the login token is over another challenge")
        try:
            signer = recover_digest(self.digest, self.signature, lenient=True)
        except SignatureError as error:
            raise LoginError("the login token has no valid signature") from error
        if signer != self.address:
            raise LoginError(f"the login token is signed by {signer}, not {self.address}")


def challenge_document(service: str, chain_id: int, value: str) -> TypedData:
    """The challenge that ``service`` asks to be signed; ``chainId`` is text, as the official services send it."""
    return TypedData(
        {"EIP712Domain": _DOMAIN_FIELDS, "Challenge": _CHALLENGE_FIELDS},
        "Challenge",
        {"name": service, "version": "1", "chainId": str(chain_id)},
        {"challenge": f"Sign this message to log into {service}: {value}"},
    )


def sign_challenge(document: Any, wallet: Wallet, chain_id: int) -> LoginToken:  # noqa: ANN401  # outside JSON
    """Sign what a service sent, bare or under ``data``, after making sure that it is a challenge and nothing else.

    An order or a permit is typed data too: signing whatever a service sends would give it the wallet.

    Raises:
        ChallengeError: another kind of document, or for another chain.
    """
    inner = document.get("data", document) if isinstance(document, dict) else document
    try:
        typed = TypedData.from_json(inner)
        digest = typed.digest
    except InputError as error:
        raise ChallengeError("the service did not send a login challenge") from error
    expected = {"EIP712Domain": _DOMAIN_FIELDS, "Challenge": _CHALLENGE_FIELDS}
    if {name: tuple(fields) for name, fields in typed.types.items()} != expected or typed.primary_type != "Challenge":
        raise ChallengeError("the service asks to sign something that is not a login challenge")
    if str(typed.domain["chainId"]) != str(chain_id):
        raise ChallengeError(f"the login challenge is for chain {typed.domain['chainId']}, not {chain_id}")
    return LoginToken(digest, to_hex(wallet.sign_digest(digest)), wallet.address)
