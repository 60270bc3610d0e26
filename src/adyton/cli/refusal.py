"""How a command says that it refuses: what, what to do about it, and the code; one form for all commands.

Messages name files of images and values of evidence, which strangers wrote: whatever would steer the terminal is shown
as an escape. A hint is our own and may have several lines, as a service's last words do.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adyton.base.errors import AdytonError


def show_refusal(command: str, error: AdytonError) -> None:
    """Write an error to standard error: what, what to do about it, and the code."""
    indent = " " * (len(command) + 2)
    hints = error.hint.split("\n") if error.hint else []
    lines = [plain(line) for line in (error.message, *hints, f"({error.code})")]
    sys.stderr.write(f"{command}: " + f"\n{indent}".join(lines) + "\n")


def plain(text: str) -> str:
    """``text`` with every character that cannot be printed as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
