"""A real contract account (ERC-1271), assembled by hand: what its controller signed counts, what follows does not."""

from __future__ import annotations

from tests.chain.lifecycle import actor
from tests.conftest import Chain

from adyton.base.types import Address, address_bytes
from adyton.chain.wallet import Wallet


def runtime_code(controller: Address) -> bytes:
    """``isValidSignature(bytes32 hash, bytes signature)``: ``ecrecover(hash, signature[0:65]) == controller``."""
    parts = (
        "600435600052",  # memory[0] = hash
        "602435602401",  # where the signature's bytes begin: its offset + 4 + 32
        "8035604052",  # memory[64] = r
        "8060200135606052",  # memory[96] = s
        "604001356000" + "1a602052",  # memory[32] = v
        "60206080608060006001" + "5afa50",  # memory[128] = ecrecover(memory[0:128])
        "60805173" + address_bytes(controller).hex() + "14",  # does it equal the controller?
        "631626ba7e02",  # the magic value, or zero
        "60e01b600052" + "60206000f3",  # return it
    )
    return bytes.fromhex("".join(parts))


def creation_code(controller: Address) -> bytes:
    """What a transaction without recipient carries to make the account."""
    code = runtime_code(controller)
    return bytes.fromhex(f"60{len(code):02x}80600b6000396000f3") + code


def create_contract_account(chain: Chain, controller: Wallet) -> Address:
    """Make an account that ``controller`` speaks for."""
    receipt = actor(chain).sender.send(None, creation_code(controller.address))
    assert receipt.contract_address is not None
    return receipt.contract_address
