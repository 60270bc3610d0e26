"""The grammar of the ``iexec`` command: tables in, one invocation or one ready reply out.

Pure: no printing, no files, and verb modules come in through a loader that is only asked for the verb (or the group
whose help is shown). The rules are those of the official client 8.24.0 (reference section 0.1): options anywhere,
``--`` ends options, variadic options run to the next option, an option takes a value that begins with a dash,
``-V`` anywhere prints the version, errors go to standard error with status 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from adyton.cli.iexec import help as help_text
from adyton.cli.iexec.suggest import suggestion

VERSION = "8.24.0"  # of the official client whose behaviour this is

OptionValue = str | bool | list[str] | None


def snake(name: str) -> str:
    """``gas-price`` and ``appAddress`` as Python names."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).replace("-", "_").lower()


@dataclass(frozen=True, slots=True)
class Option:
    """One option as help shows it: ``--raw``, ``--chain <name>``, ``--download [fileName]``, ``--secret <map...>``."""

    flags: str
    summary: str
    choices: tuple[str, ...] = ()

    @property
    def long(self) -> str:
        """The option's name with its dashes."""
        return self.flags.partition(" ")[0]

    @property
    def key(self) -> str:
        """The name under which :class:`Arguments` has it."""
        return snake(self.long[2:])

    @property
    def takes(self) -> str:
        """``nothing``, ``value`` or ``maybe``."""
        placeholder = self.flags.partition(" ")[2]
        return {"": "nothing", "<": "value", "[": "maybe"}[placeholder[:1]]

    @property
    def variadic(self) -> bool:
        """Whether following words belong to it too."""
        return "..." in self.flags


@dataclass(frozen=True, slots=True)
class Command:
    """What a verb accepts; its name, aliases and summary stand in its table row.

    Attributes:
        arguments: positionals as usage shows them, ``<amount> [unit]``.
        options: in the order of help.
    """

    arguments: str = ""
    options: tuple[Option, ...] = ()

    @property
    def positionals(self) -> list[tuple[str, bool]]:
        """Name and whether it is required, in order."""
        return [(word[1:-1], word.startswith("<")) for word in self.arguments.split()]


@dataclass(frozen=True, slots=True)
class Verb:
    """A table row: where a command is found.

    Attributes:
        name: the word to type.
        summary: for help.
        module: has ``COMMAND`` (or ``COMMANDS`` by subject) and ``run``.
        aliases: other words for it.
        subject: which resource a module that serves several nouns is about.
    """

    name: str
    summary: str
    module: str
    aliases: tuple[str, ...] = ()
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A table row of the top level: a noun with its verbs."""

    name: str
    summary: str
    verbs: tuple[Verb, ...]


@dataclass(frozen=True, slots=True)
class Arguments:
    """The values of one invocation, by option and positional name."""

    values: Mapping[str, OptionValue] = field(default_factory=dict)

    def text(self, key: str) -> str | None:
        """The value of an option or positional that takes one; None when absent."""
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def required(self, key: str) -> str:
        """The value of a positional that the grammar has made sure of."""
        value = self.values[key]
        if not isinstance(value, str):
            raise TypeError(key)
        return value

    def flag(self, key: str) -> bool:
        """Whether an option is present, with or without a value."""
        return self.values.get(key) not in (None, False)

    def words(self, key: str) -> list[str] | None:
        """The words of a variadic option; None when absent."""
        value = self.values.get(key)
        return value if isinstance(value, list) else None


@dataclass(frozen=True, slots=True)
class Invocation:
    """A verb to run. ``path`` is the command as typed (with the alias), for messages."""

    verb: Verb
    path: str
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class Reply:
    """Nothing to run: text to print, and the exit status."""

    status: int
    stdout: str = ""
    stderr: str = ""


class _GrammarError(Exception):
    """A message for standard error."""


@dataclass(slots=True)
class _Scan:
    operands: list[str]
    unknown: list[str]
    values: dict[str, OptionValue]


Loader = Callable[[Verb], Command]


def parse(argv: Sequence[str], table: Sequence[Verb | Group], load: Loader) -> Invocation | Reply:
    """Read a command line.

    Args:
        argv: the words after the program's name.
        table: the top level: groups, and verbs without a group.
        load: gives the :class:`Command` of a row; called for the verb that is run, or for those whose help is shown.
    """
    options = argv[: argv.index("--")] if "--" in argv else argv
    if any(word in ("-V", "--version") for word in options):
        return Reply(0, stdout=f"{VERSION}\n")
    return _program(_scan(argv, ()), "iexec", table, load)


def _program(scan: _Scan, path: str, rows: Sequence[Verb | Group], load: Loader) -> Invocation | Reply:
    """One level of commands: the top, or a group."""
    first = scan.operands[0] if scan.operands else None
    row = next((row for row in rows if first in _names(row)), None)
    if first is not None and row is not None:
        return _dispatch(row, f"{path} {first}", _Scan(scan.operands[1:], scan.unknown, {}), load)
    usage = help_text.program(path, rows, load)
    if first == "help":
        return _help(scan.operands[1:], usage, path, rows, load)
    if first is None and not scan.unknown:
        return Reply(1, stderr=usage)
    if _asks_for_help(scan.unknown):
        return Reply(0, stdout=usage)
    if first is None:
        error = f"error: unknown option '{scan.unknown[0]}'" + suggestion(scan.unknown[0], ["--version", "--help"])
    else:
        candidates = [name for row in rows for name in _names(row)[:2]]
        error = f"error: unknown command '{first}'" + suggestion(first, [*candidates, "help"])
    return Reply(1, stderr=f"{error}\n\n{usage}")


def _dispatch(row: Verb | Group, path: str, scan: _Scan, load: Loader) -> Invocation | Reply:
    if isinstance(row, Group):
        # The official client starts a group as a program of its own, whose words are sorted afresh.
        return _program(_scan([*scan.operands, *scan.unknown], ()), path, row.verbs, load)
    try:
        return _verb(row, path, scan, load(row))
    except _GrammarError as error:
        return Reply(1, stderr=f"{error}\n")


def _verb(row: Verb, path: str, scan: _Scan, command: Command) -> Invocation | Reply:
    own = _scan(scan.unknown, command.options)
    if _asks_for_help(own.unknown):
        return Reply(0, stdout=help_text.verb(_canonical(path, row), row, command))
    if own.unknown:
        flags = [*(option.long for option in command.options), "--help", "--version"]
        raise _GrammarError(f"error: unknown option '{own.unknown[0]}'" + suggestion(own.unknown[0], flags))
    positionals = _positionals(row.name, command, scan.operands + own.operands)
    return Invocation(row, path, Arguments(own.values | positionals))


def _help(words: Sequence[str], usage: str, path: str, rows: Sequence[Verb | Group], load: Loader) -> Reply:
    """``help [command]``: the group's or verb's help; an unknown name shows the usage as an error."""
    if not words:
        return Reply(0, stdout=usage)
    row = next((row for row in rows if words[0] in _names(row)), None)
    if row is None:
        return Reply(1, stderr=usage)
    if isinstance(row, Group):
        return Reply(0, stdout=help_text.program(f"{path} {row.name}", row.verbs, load))
    return Reply(0, stdout=help_text.verb(f"{path} {row.name}", row, load(row)))


def _scan(words: Sequence[str], options: Sequence[Option]) -> _Scan:
    """Sort words into values of known options, operands, and everything from the first unknown option on."""
    by_flag = {option.long: option for option in options}
    rest = list(words)
    scan = _Scan([], [], {})
    destination = scan.operands
    open_option: Option | None = None
    while rest:
        word = rest.pop(0)
        if word == "--":
            if destination is scan.unknown:
                destination.append(word)
            destination.extend(rest)
            break
        if open_option is not None and not _like_option(word):
            _store(scan.values, open_option, word)
            continue
        open_option = None
        name, equals, inline = word.partition("=")
        option = by_flag.get(word)
        if option is not None:
            _take(scan.values, option, rest)
            open_option = option if option.variadic else None
        elif equals and name in by_flag and by_flag[name].takes != "nothing":
            _store(scan.values, by_flag[name], inline)
        else:
            if _like_option(word):
                destination = scan.unknown
            destination.append(word)
    return scan


def _take(values: dict[str, OptionValue], option: Option, rest: list[str]) -> None:
    """Store an option that stands as a word of its own, with the value that follows it."""
    if option.takes == "value":
        if not rest:
            raise _GrammarError(f"error: option '{option.flags}' argument missing")
        _store(values, option, rest.pop(0))
    elif option.takes == "maybe" and rest and not _like_option(rest[0]):
        _store(values, option, rest.pop(0))
    else:
        values[option.key] = True


def _store(values: dict[str, OptionValue], option: Option, value: str) -> None:
    if option.choices and value not in option.choices:
        allowed = ", ".join(option.choices)
        raise _GrammarError(
            f"error: option '{option.flags}' argument '{value}' is invalid. Allowed choices are {allowed}."
        )
    if not option.variadic:
        values[option.key] = value
        return
    earlier = values.get(option.key)
    values[option.key] = [*earlier, value] if isinstance(earlier, list) else [value]


def _positionals(name: str, command: Command, operands: Sequence[str]) -> dict[str, OptionValue]:
    declared = command.positionals
    for index, (positional, required) in enumerate(declared):
        if required and index >= len(operands):
            raise _GrammarError(f"error: missing required argument '{positional}'")
    if len(operands) > len(declared):
        expected = "1 argument" if len(declared) == 1 else f"{len(declared)} arguments"
        raise _GrammarError(f"error: too many arguments for '{name}'. Expected {expected} but got {len(operands)}.")
    return {snake(positional): value for (positional, _), value in zip(declared, operands, strict=False)}


def _names(row: Verb | Group) -> tuple[str, ...]:
    return (row.name, *row.aliases) if isinstance(row, Verb) else (row.name,)


def _canonical(path: str, row: Verb) -> str:
    return f"{path.rpartition(' ')[0]} {row.name}"


def _like_option(word: str) -> bool:
    return len(word) > 1 and word.startswith("-")


def _asks_for_help(words: Sequence[str]) -> bool:
    return any(word in ("-h", "--help") for word in words)
