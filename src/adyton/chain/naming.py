"""Giving a name to an asset: forward and reverse record and text records, in one block, repeatable.

A workerpool's name carries the address of its scheduler as the text record
:data:`~adyton.chain.ens.API_URL_KEY`; clients and workers find the pool by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adyton.base.errors import AdytonError, InputError
from adyton.base.types import ZERO_ADDRESS, Address
from adyton.chain.calldata import SET_NAME
from adyton.chain.deploy import Deployment
from adyton.chain.ens import Ens
from adyton.chain.rpc import Rpc
from adyton.chain.tx import TxSender

_GAS: Final = 600_000  # per record; the dearest, a long text record, takes about 200,000


class NameTakenError(AdytonError):
    """The name belongs to another account."""

    code = "chain.ens.taken"
    hint = "choose another name, or use the wallet that owns it"


def register_name(
    rpc: Rpc,
    deployment: Deployment,
    sender: TxSender,
    *,
    name: str,
    target: Address,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Make ``name`` stand for ``target`` and back; what is set already is not sent again.

    Args:
        rpc: the node.
        deployment: where ENS is.
        sender: the account that owns, or will own, the name. It must own ``target``, too, or be it.
        name: under a domain with a first-come registrar, such as ``main.pools.iexec.eth``.
        target: an asset of the sender, or the sender itself.
        texts: text records by key.

    Raises:
        NameTakenError: somebody else owns the name.
        InputError: not a name, or its parent domain has no registrar.
        RevertError: the sender may not do this, for example does not own ``target``.
    """
    ens = Ens(rpc, deployment.ens_registry)
    calls = _claim(ens, sender.address, name)
    if calls or ens.resolver(name) != deployment.ens_resolver:
        calls.append((ens.registry, Ens.set_resolver(name, deployment.ens_resolver)))
    if ens.resolve(name) != target:
        calls.append((deployment.ens_resolver, Ens.set_addr(name, target)))
    for key, value in (texts or {}).items():
        if ens.text(name, key) != value:
            calls.append((deployment.ens_resolver, Ens.set_text(name, key, value)))
    if ens.lookup(target) != name:
        calls.append(_reverse(ens, sender.address, name, target))
    sender.send_all(calls, _GAS)


def _claim(ens: Ens, account: Address, name: str) -> list[tuple[Address, bytes]]:
    owner = ens.owner(name)
    if owner == account:
        return []
    if owner != ZERO_ADDRESS:
        raise NameTakenError(f"{name} is already owned by {owner}")
    label, _, parent = name.partition(".")
    registrar = ens.owner(parent)
    if registrar == ZERO_ADDRESS or not ens.rpc.code(registrar):
        raise InputError(f"the domain {parent} has no registrar", code="chain.ens.domain")
    return [(registrar, Ens.register(label, account))]


def _reverse(ens: Ens, account: Address, name: str, target: Address) -> tuple[Address, bytes]:
    if target == account:
        return ens.reverse_registrar(), Ens.set_name(name)
    return target, SET_NAME(ens.registry, name)
