"""How a scheduler or worker reaches the chain: node, hub, its own account."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from adyton.base.errors import InputError
from adyton.base.jsontext import parse_json
from adyton.base.secret import Secret
from adyton.base.types import Address
from adyton.chain.contracts import Hub
from adyton.chain.rpc import Rpc
from adyton.chain.tx import TxSender
from adyton.chain.wallet import Wallet


@dataclass(frozen=True, slots=True)
class ChainAccess:
    """Everything that is needed to read the chain and to send transactions from one account."""

    rpc: Rpc
    hub: Hub
    sender: TxSender
    wallet: Wallet
    chain_id: int

    @classmethod
    def open(cls, rpc_url: str, hub_address: Address, wallet: Wallet) -> ChainAccess:
        """Connect and ask the node for its chain id.

        Raises:
            UnavailableError: the node does not answer.
        """
        rpc = Rpc(rpc_url)
        chain_id = rpc.chain_id()
        return cls(rpc, Hub(rpc, hub_address), TxSender(rpc, wallet, chain_id), wallet, chain_id)


def load_wallet(key_file: Path, password_file: Path | None) -> Wallet:
    """Read a service's key: a v3 keystore with its password file, or a private file (mode 0600) of hex text.

    Raises:
        InputError: unreadable, open to others, or neither of the two forms; the key is not repeated.
    """
    text = _read_private(key_file)
    if not text.lstrip().startswith("{"):
        return Wallet.from_hex(text.strip())
    if password_file is None:
        raise InputError(
            f"{key_file} is a keystore and no password file is set",
            code="workerpool.key",
            hint="set password_file to a file of mode 0600 with the keystore's password",
        )
    from adyton.chain.keystore import decrypt  # noqa: PLC0415  # scrypt is only needed for keystores

    return decrypt(parse_json(text), Secret(_read_private(password_file).rstrip("\n")))


def _read_private(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the key file {path} cannot be read", code="workerpool.key") from error
    if stat.S_IMODE(mode) & 0o077:
        raise InputError(f"the key file {path} can be read by others", code="workerpool.key", hint=f"chmod 600 {path}")
    return text
