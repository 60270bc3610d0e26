"""The people of the demonstration: each has a folder, a wallet, and only the public ``iexec`` command."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adyton.base.errors import AdytonError
from adyton.base.secret import Secret

_TIMEOUT_S = 300.0


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

    def iexec(self, *words: str, answers: tuple[Secret[str], ...] = (), partial: bool = False) -> dict[str, Any]:
        """Run ``iexec … --raw`` in this person's folder and return its JSON.

        Args:
            words: command and options.
            answers: what is typed at the command's hidden prompts; secrets go this way, never as arguments.
            partial: accept ``"ok": false`` (a watched task that failed) and return it.

        Raises:
            CommandFailedError: the command failed, or did not answer with one JSON document.
        """
        done = subprocess.run(
            [str(Path(sys.executable).parent / "iexec"), *words, "--raw"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            input="".join(answer.reveal() + "\n" for answer in answers),
            timeout=_TIMEOUT_S,
            check=False,
        )
        told = f"{self.name}: iexec {' '.join(words[:2])}"
        # As with the official command, what a prompt says stands before the document, on the same stream.
        text = done.stdout if '{"ok"' in done.stdout else done.stderr
        try:
            answer: dict[str, Any] = json.loads(text[text.index('{"ok"') :])
        except ValueError as error:
            raise CommandFailedError(f"{told} printed no JSON: {(done.stderr or done.stdout)[-500:]}") from error
        if not answer.get("ok") and not partial:
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
