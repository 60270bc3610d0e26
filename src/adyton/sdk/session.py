"""One chain and one wallet in use: connections are made when first needed, and closed together."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import Self

from adyton.base.errors import AdytonError, InputError
from adyton.base.types import ZERO_ADDRESS, Address, parse_address
from adyton.chain.contracts import Hub, Registries
from adyton.chain.eip712 import Domain
from adyton.chain.ens import Ens
from adyton.chain.rpc import Receipt, RevertError, Rpc, RpcError, UnavailableError
from adyton.chain.tx import TxSender
from adyton.chain.wallet import Wallet
from adyton.sdk.config import ENS, ChainConfig
from adyton.sdk.errors import ConfigurationError, NodeError, ValidationError

TRANSACTION_TIMEOUT_S = 120.0  # official clients wait without end; two minutes are many blocks everywhere


def node_message(error: AdytonError) -> str:
    """A node's failure as official clients show it: a contract's refusal with its own reason."""
    if isinstance(error, RevertError):
        return f"execution reverted: {error.reason}" if error.reason else "execution reverted"
    return error.message


class Session:
    """Calls on one chain, on behalf of one wallet.

    Args:
        chain: where everything is.
        wallet: who signs; None for reading.
        gas_price: wei per gas that the user chose; None for the chain's default.
    """

    def __init__(self, chain: ChainConfig, wallet: Wallet | None = None, *, gas_price: int | None = None) -> None:
        self.chain = chain
        self._wallet = wallet
        self._gas_price = gas_price
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release all connections."""
        self._open.close()

    @property
    def wallet(self) -> Wallet:
        """The wallet that signs.

        Raises:
            ConfigurationError: the session is for reading only.
        """
        if self._wallet is None:
            raise ConfigurationError(
                "The current provider is not a signer, impossible to sign messages or transactions"
            )
        return self._wallet

    @cached_property
    def rpc(self) -> Rpc:
        """The chain's node."""
        rpc = Rpc(self.chain.host)
        self._open.callback(rpc.close)
        return rpc

    @cached_property
    def hub(self) -> Hub:
        """The PoCo contract."""
        return Hub(self.rpc, self.chain.hub)

    @cached_property
    def registries(self) -> Registries:
        """The registries of the hub."""
        return self.hub.registries()

    @cached_property
    def domain(self) -> Domain:
        """The domain of order signatures."""
        return self.hub.domain()

    @cached_property
    def token(self) -> Address | None:
        """The RLC token's contract; None on a native chain."""
        if self.chain.native:
            return None
        token = self.hub.token()
        return None if token == ZERO_ADDRESS else token

    @property
    def has_ens(self) -> bool:
        """Whether the chain has a name registry."""
        return self.chain.has_feature(ENS) and self.chain.ens_registry is not None

    @cached_property
    def ens(self) -> Ens:
        """The name service.

        Raises:
            ConfigurationError: the chain has none.
        """
        self.chain.require_feature(ENS)
        if self.chain.ens_registry is None:
            raise ConfigurationError("Network does not support ENS")
        return Ens(self.rpc, self.chain.ens_registry)

    @cached_property
    def _sender(self) -> TxSender:
        gas_price = self._gas_price
        if gas_price is None and self.chain.free_gas:
            gas_price = 0
        return TxSender(self.rpc, self.wallet, self.chain.chain_id, gas_price=gas_price)

    def send(self, to: Address, data: bytes = b"", value: int = 0, gas: int | None = None) -> Receipt:
        """Send one transaction and wait for its block.

        Raises:
            NodeError: the contract or the node refuses, or it is not mined in time.
        """
        try:
            return self._sender.send(to, data, value, gas, timeout_s=TRANSACTION_TIMEOUT_S)
        except (RpcError, UnavailableError) as error:
            raise NodeError(node_message(error), name="Web3ProviderSendError", hint=error.hint) from error

    def resolve(self, text: str) -> Address:
        """An address that was given as hex or as a name ending in ``.eth``.

        Raises:
            ValidationError: not an address, or a name without one.
        """
        if not text.endswith(".eth"):
            try:
                return parse_address(text)
            except InputError as error:
                raise ValidationError(f"{text[:80]} is not a valid ethereum address") from error
        address = self.ens.resolve(text)
        if address is None:
            raise ValidationError(f"Unable to resolve ENS {text}", code="sdk.ens.unresolved")
        return address

    def name_of(self, address: Address) -> str | None:
        """The verified name of an address, or None."""
        return self.ens.lookup(address) if self.has_ens else None
