"""The border of the ``iexec`` command: words in; text, streams and exit status out (reference sections 0.1, 0.2)."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from adyton.base.errors import AdytonError, InputError
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Command, Invocation, Reply, Verb, parse
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.table import TABLE
from adyton.cli.iexec.ui import Ui, show

INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    found = parse(list(sys.argv[1:] if argv is None else argv), TABLE, _command)
    if isinstance(found, Reply):
        sys.stdout.write(found.stdout)
        sys.stderr.write(found.stderr)
        return found.status
    return _run(found)


def _command(verb: Verb) -> Command:
    module = importlib.import_module(verb.module)
    command = module.COMMANDS[verb.subject] if verb.subject else module.COMMAND
    if not isinstance(command, Command):
        raise TypeError(verb.module)
    return command


def _run(invocation: Invocation) -> int:
    arguments = invocation.arguments
    raw = arguments.flag("raw")
    ui = Ui(raw=raw, quiet=arguments.flag("quiet"))
    context = Context(Path.cwd(), ui, arguments, time.sleep, invocation.verb.subject)
    try:
        outcome = importlib.import_module(invocation.verb.module).run(context, arguments)
    except AdytonError as error:
        return _fail(invocation, raw=raw, name=error_name(error), message=error.message, hint=error.hint)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return INTERRUPTED
    except OSError as error:
        message = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        return _fail(invocation, raw=raw, name="Error", message=message)
    except Exception as error:  # noqa: BLE001  # the border: a fault of ours must be told in the same form
        return _fail(invocation, raw=raw, name=type(error).__name__, message=f"internal fault: {error}")
    _succeed(outcome, raw=raw)
    return 0


def error_name(error: AdytonError) -> str:
    """The official class name of an error (reference section 0.6)."""
    name = getattr(error, "name", None)
    if isinstance(name, str):
        return name
    if error.code.startswith(("chain.rpc", "chain.revert", "chain.tx")):
        return "Web3ProviderCallError"
    return "ValidationError" if isinstance(error, InputError) else "Error"


def _succeed(outcome: Outcome, *, raw: bool) -> None:
    if raw:
        stream = sys.stderr if outcome.failed else sys.stdout
        stream.write(_json({"ok": not outcome.failed, **outcome.fields}) + "\n")
        return
    body = show(outcome.fields if outcome.details is None else outcome.details)
    parts = [part for part in (outcome.message, body) if part]
    if outcome.next_step:
        parts.append(f"next: {outcome.next_step}")
    sys.stderr.write("\n".join(parts) + "\n")


def _fail(invocation: Invocation, *, raw: bool, name: str, message: str, hint: str = "") -> int:
    if raw:
        failure = {"ok": False, "command": invocation.path, "error": {"name": name, "message": message}}
        sys.stderr.write(_json(failure) + "\n")
        return 1
    sys.stdout.write("\n")
    sys.stderr.write(f'Command "{invocation.path}" failed with {name}: {message}\n')
    if hint:
        sys.stderr.write(f"hint: {hint}\n")
    return 1


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
