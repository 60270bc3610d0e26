"""What is signed for each operation: challenges and signature checks (protocol, section 2).

Every challenge is ``H(...)`` (:func:`adyton.chain.hashing.concat_hash`) and every signature an EIP-191 personal
signature over its 32 raw bytes. Inputs are hashed as received: hex addresses are case-neutral, names are not.
"""

from __future__ import annotations

import re
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from adyton.base.errors import InputError
from adyton.base.types import Address, Bytes32, to_hex, word_bytes
from adyton.chain.hashing import concat_hash, hash_text
from adyton.chain.wallet import SignatureError, Wallet, personal_digest, recover_personal

DOMAIN: Final = "IEXEC_SMS_DOMAIN"
APP_SECRET_INDEX: Final = "1"  # noqa: S105  # the one index an app secret can have
_SIGNATURE: Final = re.compile(r"(?:0[xX])?([0-9a-fA-F]{130})")
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1 (SEC 2)


def web3_challenge(address: str, value: str) -> Bytes32:
    """What the owner of a dataset signs to store its key.

    Raises:
        InputError: the address is not hex text (the official behaviour is undefined there).
    """
    return concat_hash(hash_text(DOMAIN), address, hash_text(value))


def web2_challenge(owner: str, name: str, value: str) -> Bytes32:
    """What ``owner`` signs to store or change a web2 secret.

    Raises:
        InputError: the address is not hex text.
    """
    return concat_hash(hash_text(DOMAIN), owner, hash_text(name), hash_text(value))


def app_challenge(app: str, value: str) -> Bytes32:
    """What the owner of an app signs to store its developer secret.

    Raises:
        InputError: the address is not hex text.
    """
    return concat_hash(hash_text(DOMAIN), app, hash_text(APP_SECRET_INDEX), hash_text(value))


def requester_challenge(requester: str, key: str, value: str) -> Bytes32:
    """What a requester signs to store a named secret.

    Raises:
        InputError: the address is not hex text.
    """
    return concat_hash(hash_text(DOMAIN), requester, hash_text(key), hash_text(value))


def authorization_challenge(worker: str, task_id: str, enclave_challenge: str) -> Bytes32:
    """What the workerpool signs for a worker, and the worker to ask for a session.

    With an empty worker and enclave challenge it is what the workerpool signs to ask for an enclave challenge.

    Raises:
        InputError: a member is not hex text.
    """
    return concat_hash(worker, task_id, enclave_challenge)


def sign(challenge: Bytes32, wallet: Wallet) -> str:
    """Sign a challenge; the text goes bare into the ``Authorization`` header."""
    return to_hex(wallet.sign_personal(word_bytes(challenge)))


def sign_afresh(challenge: Bytes32, wallet: Wallet) -> str:
    """Sign with a random nonce, so that each call gives another signature over the same challenge.

    :func:`sign` is deterministic (RFC 6979), so a value that its owner puts back would come with a signature that the
    service has seen, and be refused as a replay. Only the holder of the key can make another one.
    """
    digest = personal_digest(word_bytes(challenge))
    key = ec.derive_private_key(int.from_bytes(wallet.private_key().reveal()), ec.SECP256K1())
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(SHA256()))))  # Prehashed: any 32-byte digest
    s = min(s, _ORDER - s)  # EIP-2
    candidates = (r.to_bytes(32) + s.to_bytes(32) + bytes([v]) for v in (27, 28))
    return next(to_hex(raw) for raw in candidates if signer_of(challenge, raw.hex()) == wallet.address)


def signer_of(challenge: Bytes32, signature: str) -> Address | None:
    """Who signed ``challenge``, or None when the text is no 65-byte signature with v 27 or 28 and a low s.

    Reading stops there: the official service answers 500 to a short signature, we treat it as the bad one it is.
    """
    match = _SIGNATURE.fullmatch(signature)
    if match is None:
        return None
    try:
        return recover_personal(word_bytes(challenge), bytes.fromhex(match[1]))
    except (InputError, SignatureError):
        return None
