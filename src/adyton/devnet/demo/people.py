"""The people of the demonstration: each has a folder, a wallet, and only the public ``iexec`` command."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adyton.base.errors import AdytonError
from adyton.base.secret import Secret

_TIMEOUT_S = 300.0
_LOOK_S = 0.5


class CommandFailedError(AdytonError):
    """A command of one of the people failed."""

    code = "demo.command"


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who owns a wallet and works in a folder of their own.

    Attributes:
        name: who it is.
        folder: where this person works; ``wallet.json`` there holds a throw-away key.
        address: the wallet's address.
    """

    name: str
    folder: Path
    address: str

    @classmethod
    def create(cls, name: str, folder: Path, chain_json: dict[str, Any]) -> Person:
        """Make the folder, ``iexec init`` it with a new wallet, and point it at the local network."""
        folder.mkdir(parents=True)
        answer = cls(name, folder, "").iexec("init", "--force", "--unencrypted")
        (folder / "chain.json").write_text(json.dumps(chain_json, indent=2), encoding="utf-8")
        return cls(name, folder, answer["walletAddress"])

    def iexec(
        self, *words: str, answers: tuple[Secret[str], ...] = (), lost: Callable[[], str | None] = lambda: None
    ) -> dict[str, Any]:
        """Run ``iexec … --raw`` in this person's folder and return its JSON.

        Args:
            words: command and options.
            answers: what is typed at the command's hidden prompts; secrets go this way, never as arguments.
            lost: says why waiting any longer is in vain, or None; asked while the command runs.

        Raises:
            CommandFailedError: the command failed, or did not answer with one JSON document.
        """
        told = f"{self.name}: iexec {' '.join(words[:2])}"
        typed: str | None = "".join(answer.reveal() + "\n" for answer in answers)
        deadline = time.monotonic() + _TIMEOUT_S
        with subprocess.Popen(
            [str(Path(sys.executable).parent / "iexec"), *words, "--raw"],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            while True:
                try:
                    out, err = process.communicate(typed, timeout=_LOOK_S)
                    break
                except subprocess.TimeoutExpired:
                    typed = None
                    why = lost() or (
                        f"nothing happened for {_TIMEOUT_S:.0f} s" if time.monotonic() > deadline else None
                    )
                    if why:
                        process.kill()
                        raise CommandFailedError(f"{told}: {why}") from None
        # As with the official command, what a prompt says stands before the document, on the same stream.
        text = out if '{"ok"' in out else err
        try:
            answer: dict[str, Any] = json.loads(text[text.index('{"ok"') :])
        except ValueError as error:
            raise CommandFailedError(f"{told} printed no JSON: {(err or out)[-500:]}") from error
        if not answer.get("ok"):
            detail = answer.get("error", {}).get("message") or answer.get("fail") or answer.get("failedTasks") or answer
            raise CommandFailedError(f"{told} failed: {detail}")
        return answer

    def edit(self, file: str, **members: Any) -> None:  # noqa: ANN401  # JSON is any
        """Change top-level members of a JSON file in the folder, as a person does in an editor."""
        path = self.folder / file
        document = json.loads(path.read_text(encoding="utf-8"))
        for name, change in members.items():
            if isinstance(change, dict) and isinstance(document.get(name), dict):
                document[name] |= change
            else:
                document[name] = change
        path.write_text(json.dumps(document, indent=2), encoding="utf-8")
