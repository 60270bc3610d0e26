"""A contract that can own a pool, assembled by hand: its controller signs for it (ERC-1271) and acts through it."""

from __future__ import annotations

from typing import Final

from tests.conftest import Chain

from adyton.base.types import Address, address_bytes, keccak
from adyton.chain.wallet import Wallet
from adyton.workerpool.scheduler.owner import OwnerCall

_SIGNATURES: Final[dict[OwnerCall, str]] = {
    "execute": "execute(address,uint256,bytes)",
    "erc725": "execute(uint256,address,uint256,bytes)",
}
_IS_VALID: Final = 0x1626BA7E
_OPS: Final = {
    "STOP": 0x00, "ADD": 0x01, "MUL": 0x02, "EQ": 0x14, "ISZERO": 0x15, "BYTE": 0x1A, "SHL": 0x1B, "SHR": 0x1C,
    "CALLER": 0x33, "CALLDATALOAD": 0x35, "CALLDATACOPY": 0x37, "POP": 0x50, "MLOAD": 0x51, "MSTORE": 0x52,
    "JUMPI": 0x57, "GAS": 0x5A, "DUP1": 0x80, "DUP2": 0x81, "DUP3": 0x82, "SWAP1": 0x90, "CALL": 0xF1,
    "RETURN": 0xF3, "STATICCALL": 0xFA, "REVERT": 0xFD,
}  # fmt: skip

_VERIFY: Final = f"""
:verify 4 CALLDATALOAD 0 MSTORE  36 CALLDATALOAD 36 ADD
DUP1 CALLDATALOAD 64 MSTORE  DUP1 32 ADD CALLDATALOAD 96 MSTORE  64 ADD CALLDATALOAD 0 BYTE 32 MSTORE
32 128 128 0 1 GAS STATICCALL POP
128 MLOAD {{controller}} EQ {_IS_VALID} MUL 224 SHL 0 MSTORE 32 0 RETURN
"""
_EXECUTE: Final = """
:execute CALLER {controller} EQ @allowed JUMPI 0 0 REVERT
:allowed {data} CALLDATALOAD 4 ADD DUP1 CALLDATALOAD SWAP1 32 ADD DUP2 SWAP1 0 CALLDATACOPY
0 0 DUP3 0 0 {callee} CALLDATALOAD GAS CALL
"""
_LOUD: Final = "ISZERO @refused JUMPI STOP :refused 0 0 REVERT"
_QUIET: Final = "POP STOP"


def assemble(source: str) -> bytes:
    """Numbers are pushed, ``:name`` is a place, ``@name`` pushes it, the rest are operations."""
    code, places, uses = bytearray(), {}, []
    for word in source.split():
        if word.startswith(":"):
            places[word[1:]] = len(code)
            code.append(0x5B)
        elif word.startswith("@"):
            uses.append((len(code) + 1, word[1:]))
            code += b"\x61\x00\x00"
        elif word.isdigit():
            value = int(word).to_bytes(max(1, (int(word).bit_length() + 7) // 8))
            code += bytes([0x5F + len(value)]) + value
        else:
            code.append(_OPS[word])
    for at, name in uses:
        code[at : at + 2] = places[name].to_bytes(2)
    return bytes(code)


def create_owner(chain: Chain, controller: Wallet, call: OwnerCall, *, quiet: bool = False) -> Address:
    """Make such a contract; a quiet one keeps it to itself when what it called refused."""
    callee = 4 if call == "execute" else 36
    values = {
        "controller": int.from_bytes(address_bytes(controller.address)),
        "callee": callee,
        "data": callee + 64,
    }
    selector = int.from_bytes(keccak(_SIGNATURES[call].encode())[:4])
    start = f"0 CALLDATALOAD 224 SHR DUP1 {selector} EQ @execute JUMPI {_IS_VALID} EQ @verify JUMPI 0 0 REVERT"
    code = assemble(" ".join((start, _VERIFY, _EXECUTE, _QUIET if quiet else _LOUD)).format(**values))
    creation = bytes.fromhex(f"61{len(code):04x}80600c6000396000f3") + code
    receipt = chain.sender(chain.funded_wallet()).send(None, creation)
    assert receipt.contract_address is not None
    return receipt.contract_address
