"""Talking to the person at the terminal: progress and questions.

Progress goes to standard error and is silent under ``--raw`` and ``--quiet``; questions go to standard output as the
official client's do, and are asked under ``--raw`` too.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Mapping
from typing import Any

from adyton.base.secret import Secret
from adyton.sdk.errors import AbortedError, ClientError, PromptClosedError

_NO = ("n", "no")


class Ui:
    """One command's conversation.

    Args:
        raw: print nothing but the result.
        quiet: no progress.
    """

    def __init__(self, *, raw: bool, quiet: bool = False) -> None:
        self.raw = raw
        self._silent = raw or quiet

    def info(self, text: str) -> None:
        """Say what is going on."""
        if not self._silent:
            sys.stderr.write(f"{text}\n")

    def warn(self, text: str) -> None:
        """Say what the user should know; not silenced by ``--quiet``."""
        if not self.raw:
            sys.stderr.write(f"warning: {text}\n")

    def confirm(self, question: str) -> None:
        """Ask, with Yes as the default.

        Raises:
            AbortedError: no.
            PromptClosedError: nobody can answer.
        """
        if self._ask(f"? {question} (Y/n) ").strip().lower() in _NO:
            raise AbortedError

    def password(self, file_name: str) -> Secret[str]:
        """The password of a wallet file, unseen.

        Raises:
            PromptClosedError: nobody can answer.
        """
        return self.hidden(f"Password of wallet {file_name}")

    def new_password(self) -> Secret[str]:
        """A password for a new wallet, typed twice.

        Raises:
            ClientError: the two differ.
            PromptClosedError: nobody can answer.
        """
        first = self.hidden("Choose a password for the wallet")
        if first != self.hidden("Type it again"):
            raise ClientError("Password mismatch", code="sdk.wallet.mismatch")
        return first

    def hidden(self, question: str) -> Secret[str]:
        """A secret value, unseen on a terminal.

        Raises:
            PromptClosedError: nobody can answer.
        """
        if not sys.stdin.isatty():
            return Secret(self._ask(f"? {question} "))
        try:
            return Secret(getpass.getpass(f"? {question} ", stream=sys.stdout))
        except EOFError as error:
            raise PromptClosedError from error

    @staticmethod
    def _ask(prompt: str) -> str:
        sys.stdout.write(prompt)
        sys.stdout.flush()
        line = sys.stdin.readline() if sys.stdin and not sys.stdin.closed else ""
        if not line:
            sys.stdout.write("\n")
            raise PromptClosedError
        return line.rstrip("\r\n")


def show(fields: Mapping[str, Any], indent: str = "") -> str:
    """Fields as aligned lines for a person; nested objects are indented."""
    lines = []
    width = max((len(key) for key in fields), default=0) + 1
    for key, value in fields.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}:", show(value, indent + "  ")]
        elif isinstance(value, list):
            lines += _list(key, value, indent, width)
        else:
            lines.append(f"{indent}{key + ':':<{width}} {_plain(value)}")
    return "\n".join(line for line in lines if line)


def _list(key: str, items: list[Any], indent: str, width: int) -> list[str]:
    if not items:
        return [f"{indent}{key + ':':<{width}} -"]
    lines = [f"{indent}{key}:"]
    for item in items:
        text = show(item, indent + "    ") if isinstance(item, Mapping) else f"{indent}    {_plain(item)}"
        lines.append(f"{indent}  - {text.strip()}")
    return lines


def _plain(value: object) -> str:
    return (
        {True: "yes", False: "no", None: "-"}.get(value, str(value)) if isinstance(value, bool | None) else str(value)
    )
