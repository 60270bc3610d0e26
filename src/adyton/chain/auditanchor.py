"""The head of an audit log, published: a transaction whose calldata says which log had which entry.

Calldata, 97 bytes: ``"adyton/audit-head/1"`` padded with zeros to 25, the log's name (hash of its first entry, 32),
the entry's number (u64 big-endian), its hash (32). The transaction goes from the publisher to itself and moves no
money. It proves that the log was that long when its block was made, to everybody who trusts the chain; whose word it
is, its sender says.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final, Self

from adyton.base.auditchain import AuditEntry
from adyton.base.errors import AdytonError
from adyton.base.types import Address, Bytes32, parse_address
from adyton.chain.rpc import Rpc
from adyton.chain.tx import TxSender

_DOMAIN: Final = b"adyton/audit-head/1".ljust(25, b"\0")
_SHOWN: Final = 16  # characters of a hash in a sentence
_FIELDS: Final = struct.Struct(">25s32sQ32s")


class PublicationError(AdytonError):
    """A transaction is no publication of a head."""

    code = "audit.publication.format"
    hint = "name the transaction that 'adyton audit publish' printed"


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """What was published.

    Attributes:
        log: hash of the log's first entry, hex.
        seq: number of the entry.
        hash: its hash, hex.
    """

    log: str
    seq: int
    hash: str

    def to_calldata(self) -> bytes:
        """As it is sent."""
        return _FIELDS.pack(_DOMAIN, bytes.fromhex(self.log), self.seq, bytes.fromhex(self.hash))

    @classmethod
    def of_calldata(cls, data: bytes) -> Self:
        """The inverse.

        Raises:
            PublicationError: other bytes.
        """
        if len(data) != _FIELDS.size or not data.startswith(_DOMAIN):
            raise PublicationError(f"the transaction's {len(data)} bytes of calldata are no head of an audit log")
        _domain, log, seq, digest = _FIELDS.unpack(data)
        return cls(log.hex(), seq, digest.hex())


@dataclass(frozen=True, slots=True)
class Publication:
    """A publication as it stands on the chain: what, by whom, and in which block."""

    head: PublishedHead
    sender: Address
    block: int

    def contradicted_by(self, first: str, last: AuditEntry | None, there: AuditEntry | None) -> str:
        """What of a log contradicts this publication, as a sentence; empty: nothing.

        Args:
            first: hash of the log's first entry; empty when it has none.
            last: its last good entry.
            there: the entry that stands where the published one must.
        """
        head = self.head
        if not first:
            return f"the log is empty, but entry {head.seq} of one was published in block {self.block}"
        if head.log != first:
            return (
                f"the head in block {self.block} is of another log: that one began with {head.log[:_SHOWN]}, this one"
                f" with {first[:_SHOWN]}"
            )
        if last is None or last.seq < head.seq:
            end = 0 if last is None else last.seq
            return f"the log's chain ends with entry {end}, but entry {head.seq} was published in block {self.block}"
        if there is None or there.hash != head.hash:
            return f"line {head.seq}: it is not the entry that was published in block {self.block}"
        return ""


def publish(sender: TxSender, head: PublishedHead) -> Bytes32:
    """Send it and wait until it is in a block; gives the transaction's hash.

    Raises:
        RpcError, UnavailableError: as :meth:`adyton.chain.tx.TxSender.send`.
    """
    return sender.send(sender.address, head.to_calldata()).transaction_hash


def read_publication(rpc: Rpc, transaction_hash: Bytes32) -> Publication:
    """Read it back.

    Raises:
        PublicationError: no such transaction in a block, or it publishes nothing.
        UnavailableError: no node.
    """
    found: Any = rpc.call("eth_getTransactionByHash", transaction_hash)
    if not isinstance(found, dict) or not isinstance(found.get("blockNumber"), str):
        raise PublicationError(
            f"the chain has no transaction {transaction_hash} in a block",
            code="audit.publication.absent",
            hint="name a node of the chain that it was published on with --rpc",
        )
    try:
        data = bytes.fromhex(str(found["input"]).removeprefix("0x"))
        sender, block = parse_address(str(found["from"])), int(found["blockNumber"], 16)
    except (KeyError, ValueError) as error:
        raise PublicationError(f"the node's answer about {transaction_hash} cannot be understood") from error
    return Publication(PublishedHead.of_calldata(data), sender, block)
