"""The result link that stands on the chain: exactly the official texts, spaces included (pool reference 4.7; pure)."""

from __future__ import annotations

from adyton.base.types import Address, Bytes32


def ipfs_link(cid: str) -> str:
    """A result in IPFS."""
    return _link("ipfs", "/ipfs/" + cid.removeprefix("/ipfs/"))


def dropbox_link(task_id: Bytes32) -> str:
    """A result in the requester's Dropbox."""
    return _link("dropbox", f"/results/{task_id}")


def callback_link(callback: Address) -> str:
    """A result that goes to a contract."""
    return _link("ethereum", callback)


def _link(storage: str, location: str) -> str:
    return f'{{ "storage": "{storage}", "location": "{location}" }}'
