"""The network's own parties: contracts' admin and faucet, pool owners, workers. All keys are throw-away.

The twin shares Bellecour's chain id and contract addresses, so what these keys sign would be valid on the real chain:
that is why they are made here, at random, for this network only, and never imported.
"""

from __future__ import annotations

from pathlib import Path

from adyton.base.errors import InputError
from adyton.base.files import write_private
from adyton.chain.wallet import Wallet
from adyton.devnet.paths import NetworkPaths


def key_file(paths: NetworkPaths, role: str) -> Path:
    """A hex file, readable by this user only, with the key of ``role`` (``pool-production``, …); made at first use."""
    file = paths.wallets / f"{role}.key"
    if not file.exists():
        key = Wallet.create().private_key()
        write_private(file, b"0x" + key.reveal().hex().encode() + b"\n")
    return file


def operator(paths: NetworkPaths, role: str) -> Wallet:
    """The wallet of ``role``.

    Raises:
        InputError: its key file does not hold a key.
    """
    file = key_file(paths, role)
    try:
        return Wallet.from_hex(file.read_text(encoding="ascii").strip())
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} does not hold a private key",
            code="devnet.wallet",
            hint="it was damaged; remove the network's folder to start afresh",
        ) from error
