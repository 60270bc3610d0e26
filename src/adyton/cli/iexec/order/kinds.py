"""What all order verbs share: which kinds are meant, and doing one after the other with partial failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from adyton.base.errors import AdytonError
from adyton.chain.orders import Order, OrderKind
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.ui import show
from adyton.cli.iexec.values import word32
from adyton.sdk import orders
from adyton.sdk.errors import ClientError

KINDS: Final = tuple(OrderKind)


def flags(verb: str) -> tuple[Option, ...]:
    """``--app --dataset --workerpool --request``, to choose kinds."""
    return tuple(Option(f"--{kind}", f"{verb} the {kind}order") for kind in KINDS)


def optional_hashes(verb: str) -> tuple[Option, ...]:
    """The same, each with an optional order hash."""
    return tuple(
        Option(f"--{kind} [orderHash]", f"{verb} the {kind}order, or the one with this hash") for kind in KINDS
    )


def chosen(arguments: Arguments) -> list[OrderKind]:
    """The kinds that were named; all when none was."""
    return [kind for kind in KINDS if arguments.flag(kind)] or list(KINDS)


def required(arguments: Arguments) -> list[OrderKind]:
    """The kinds that were named.

    Raises:
        ClientError: none was.
    """
    named = [kind for kind in KINDS if arguments.flag(kind)]
    if not named:
        raise ClientError(
            "No option specified, you should choose one (--app | --dataset | --workerpool | --request)",
            code="sdk.order.no_kind",
        )
    return named


def for_each(kinds: Sequence[OrderKind], action: Callable[[OrderKind], Any], next_step: str = "") -> Outcome:
    """Do something for each kind; what fails is told beside what succeeded."""
    done: dict[str, Any] = {}
    failures: list[str] = []
    for kind in kinds:
        name = orders.order_name(kind)
        try:
            done[name] = action(kind)
        except AdytonError as error:
            failures.append(f"{name}: {error.message}")
    if failures:
        return Outcome(done | {"fail": failures}, failed=True)
    return Outcome(done, next_step=next_step)


def saved(context: Context, kind: OrderKind) -> Order:
    """The signed order of a kind in orders.json.

    Raises:
        ClientError: there is none.
    """
    name = orders.order_name(kind)
    document = context.project.existing_orders(context.chain.chain_id).get(name)
    if document is None:
        message = f'Missing signed {name} for chain {context.chain.chain_id} in "orders.json"'
        raise ClientError(message, code="sdk.order.unsigned", hint="iexec order sign")
    return orders.read_signed(kind, document)


def typed_hash(arguments: Arguments, kind: OrderKind) -> str | None:
    """The order hash that was typed for a kind; None when the flag stands alone.

    Raises:
        ValidationError: not a hash.
    """
    text = arguments.text(kind)
    return None if text is None else word32(text)


def question(verb: str, order: Order) -> str:
    """What to ask before something is done with an order."""
    shown = {name: str(value) for name, value in order.values().items()}
    return f"{verb} this {orders.order_name(order.kind)}?\n{show(shown, '  ')}\n"
