"""How a command says that it refuses: what, what to do about it, and the code; one form for all commands.

Messages name files of images and values of evidence, which strangers wrote: whatever would steer the terminal is shown
as an escape.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adyton.base.errors import AdytonError


def show_refusal(command: str, error: AdytonError) -> None:
    """Write an error to standard error, on one line each."""
    indent = " " * (len(command) + 2)
    hint = f"{indent}{plain(error.hint)}\n" if error.hint else ""
    sys.stderr.write(f"{command}: {plain(error.message)}\n{hint}{indent}({error.code})\n")


def plain(text: str) -> str:
    """``text`` with every character that cannot be printed as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
