"""A node that is asked under a name: some networks (Arbitrum) want a sender in every ``eth_call``.

Nothing is ever signed or sent under it: a fresh random address at every start, so that it says nothing either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from adyton.base.types import Address
from adyton.chain.rpc import Rpc


class CallerRpc(Rpc):
    """A node whose ``eth_call`` carries a sender.

    Args:
        url: HTTP address of its JSON-RPC.
        caller: the sender.
    """

    def __init__(self, url: str, caller: Address) -> None:
        super().__init__(url)
        self.caller = caller

    def call(self, method: str, *params: Any) -> Any:  # noqa: ANN401  # JSON is any
        """See :meth:`Rpc.call`."""
        return super().call(method, *self._named(method, params))

    def batch(self, calls: Iterable[tuple[str, Sequence[Any]]]) -> list[Any]:
        """See :meth:`Rpc.batch`."""
        return super().batch((method, self._named(method, params)) for method, params in calls)

    def _named(self, method: str, params: Sequence[Any]) -> Sequence[Any]:
        if method != "eth_call":
            return params
        call, *others = params
        return [{"from": self.caller} | call, *others]
