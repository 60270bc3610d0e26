"""What a verb works with: the project's folder, the conversation, and the options that all verbs share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from adyton.base.secret import Secret
from adyton.base.types import Address
from adyton.cli.iexec.grammar import Arguments
from adyton.cli.iexec.ui import Ui
from adyton.sdk import wallets
from adyton.sdk.files import Project
from adyton.sdk.units import parse_wei
from adyton.sdk.wallets import WalletSelection

if TYPE_CHECKING:
    from adyton.sdk.config import ChainConfig
    from adyton.sdk.session import Session


@dataclass
class Context:
    """One invocation's surroundings.

    Attributes:
        cwd: the project's folder.
        ui: the conversation.
        arguments: what was typed.
        pause: waits some seconds; what watching uses between looks.
        subject: the resource that a verb of several nouns is about, ``app`` and so on.
    """

    cwd: Path
    ui: Ui
    arguments: Arguments
    pause: Callable[[float], None]
    subject: str = ""

    @cached_property
    def project(self) -> Project:
        """The project's files."""
        return Project(self.cwd)

    @cached_property
    def chain(self) -> ChainConfig:
        """The chain that ``--chain`` or ``chain.json`` chooses."""
        from adyton.sdk import config  # noqa: PLC0415  # commands on files do without

        chain = config.load(self.project, self.arguments.text("chain"))
        self.ui.info(f"chain {chain.name} ({chain.chain_id})")
        return chain

    @property
    def selection(self) -> WalletSelection:
        """Which wallet the options choose."""
        return WalletSelection(
            self.arguments.text("keystoredir"),
            self.arguments.text("wallet_file"),
            self.arguments.text("wallet_address"),
        )

    @property
    def forced(self) -> bool:
        """Whether to act without asking."""
        return self.arguments.flag("force")

    def confirm(self, question: str) -> None:
        """Ask, unless ``--force`` is given.

        Raises:
            AbortedError: no.
        """
        if not self.forced:
            self.ui.confirm(question)

    def wallet_address(self) -> Address | None:
        """The wallet's address for commands that do without a wallet, too."""
        return wallets.address_or_default(self.selection, self.cwd)

    def password(self, file_name: str) -> Secret[str]:
        """The wallet's password: from the option, else asked."""
        given = self.arguments.text("password")
        if given is None:
            return self.ui.password(file_name)
        self.ui.warn("a password on the command line can be seen by others on this machine")
        return Secret(given)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """The chain without a wallet."""
        from adyton.sdk.session import Session  # noqa: PLC0415  # commands on files do without

        with Session(self.chain) as session:
            yield session

    @contextmanager
    def signing(self) -> Iterator[Session]:
        """The chain with the wallet opened, which may ask for its password."""
        from adyton.sdk.session import Session  # noqa: PLC0415  # commands on files do without

        words = self.arguments.words("gas_price")
        gas_price = None if words is None else parse_wei(" ".join(words))
        self._check_confirms()
        chain = self.chain
        wallet = wallets.find_for_signing(self.selection, self.cwd).open(self.password)
        with Session(chain, wallet, gas_price=gas_price) as session:
            yield session

    def _check_confirms(self) -> None:
        from adyton.sdk.errors import ValidationError  # noqa: PLC0415  # rarely needed

        text = self.arguments.text("confirms")
        if text is not None and not (text.isascii() and text.isdigit() and int(text) >= 1):
            raise ValidationError("invalid confirms must be an integer greater than or equal to 1")
