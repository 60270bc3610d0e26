"""Help texts, in the shape that the official client prints: usage, summary, options, commands, links."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adyton.cli.iexec.grammar import Command, Group, Verb

_HELP_OPTION = ("-h, --help", "display help for command")
_VERSION_OPTION = ("-V, --version", "output the version number")
_HELP_COMMAND = ("help [command]", "display help for command")
_LINKS = "Links:\n  doc: https://protocol.docs.iex.ec\n"
_MIN_TEXT_WIDTH = 40  # columns; below it, wrapping would hurt more than long lines


def program(path: str, rows: Sequence[Verb | Group], load: Callable[[Verb], Command]) -> str:
    """Help of the whole command (``path`` is ``iexec``) or of a group."""
    at_top = path == "iexec"
    usage = "[command] [options]" if at_top else "<command> [options]"
    options = [_VERSION_OPTION, _HELP_OPTION] if at_top else [_HELP_OPTION]
    commands = [(_signature(row, load if not at_top else None), row.summary) for row in rows]
    parts = [f"Usage: {path} {usage}\n"]
    if at_top:
        parts.append("Confidential computing on an iExec marketplace\n")
    width = max(len(term) for term, _ in [*options, *commands, _HELP_COMMAND])
    parts += [_section("Options", options, width), _section("Commands", [*commands, _HELP_COMMAND], width), _LINKS]
    return "\n".join(parts)


def verb(path: str, row: Verb, command: Command) -> str:
    """Help of one command."""
    names = "|".join([path, *row.aliases])
    usage = f"Usage: {names} [options] {command.arguments}".rstrip()
    options = [(option.flags, _with_choices(option.summary, option.choices)) for option in command.options]
    options.append(_HELP_OPTION)
    width = max(len(term) for term, _ in options)
    return "\n".join([usage + "\n", row.summary + "\n", _section("Options", options, width), _LINKS])


def _signature(row: Verb | Group, load: Callable[[Verb], Command] | None) -> str:
    aliases = getattr(row, "aliases", None)
    if aliases is None:
        return row.name
    names = "|".join([row.name, *aliases[:1]])
    arguments = load(row).arguments if load is not None else ""  # type: ignore[arg-type]  # groups returned above
    return f"{names} [options] {arguments}".rstrip()


def _with_choices(summary: str, choices: Sequence[str]) -> str:
    if not choices:
        return summary
    quoted = ", ".join(f'"{choice}"' for choice in choices)
    return f"{summary} (choices: {quoted})"


def _section(title: str, entries: Sequence[tuple[str, str]], width: int) -> str:
    columns = shutil.get_terminal_size().columns
    room = columns - width - 4
    lines = [f"{title}:"]
    for term, summary in entries:
        wrapped = textwrap.wrap(summary, room) if room >= _MIN_TEXT_WIDTH else [summary]
        lines.append(f"  {term.ljust(width)}  {wrapped[0]}")
        lines += [" " * (width + 4) + more for more in wrapped[1:]]
    return "\n".join(lines) + "\n"
