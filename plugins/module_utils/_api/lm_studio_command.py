# SPDX-License-Identifier: GPL-3.0-or-later
"""What only LM Studio's command can do: tell where a model's files lie, and load one under a name that is asked for.

Any of its commands but the questions for a status starts the program, or even installs it (open client of 2026-08-13).
So it is asked only by those who have just talked to the running server, and never while only looking. With the port of
a server it starts nothing: it asks there, and fails where no LM Studio answers (`createClient.ts`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

from .._core.errors import LlmError
from .daemon import entries

_USUAL = ("lms", "~/.lmstudio/bin/lms")
_TIMEOUT = 60
_HERE = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::")


def paths_of(key: str, origin: t.Mapping[str, t.Any]) -> list[str]:
    """Paths below its folder of models, of the model with this key; empty where the command is not there."""
    for command in [str(origin["executable"])] if origin.get("executable") else _USUAL:
        try:
            done = subprocess.run(
                [str(Path(command).expanduser()) if "/" in command else command, "ls", "--json"],
                capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=_TIMEOUT,
            )  # fmt: skip
            listed = json.loads(done.stdout)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            continue
        return [str(entry["path"]) for entry in entries(listed) if entry.get("modelKey") == key and entry.get("path")]
    return []


class LmStudioCommand:
    """The command for the server at this host and port; `token` goes into its environment only."""

    def __init__(self, program: str, host: str, port: int, *, token: str = "") -> None:
        self._program = program
        # Without a host it is the privileged client of this machine; with one it is a stranger's.
        self._place = ["--port", str(port), *(() if host in _HERE else ("--host", host))]
        self._environment = {**os.environ, **({"LM_API_TOKEN": token} if token else {})}

    def load(self, key: str, identifier: str, *, context_length: int, timeout: float) -> None:
        """Have a model in memory once more, under this name. Raises `model_missing`, `start_failed`, `timeout`."""
        listed = self._run(["ls", "--json"], _TIMEOUT)
        try:
            models = entries(json.loads(listed))
        except ValueError:
            raise LlmError("start_failed", f"{self._program} ls said something that is no JSON.") from None
        path = next((str(model["path"]) for model in models if model.get("modelKey") == key and model.get("path")), "")
        if not path:
            raise LlmError("model_missing", f"{self._program} does not list {key}.", remedy="Pull the model first.")
        # A key would be searched like a word, and the first model that is anything like it taken; a path is not.
        words = ["load", "--exact", path, "--identifier", identifier, "--context-length", str(context_length), "--yes"]
        self._run(words, timeout)

    def _run(self, words: t.Sequence[str], timeout: float) -> str:
        shown = f"{self._program} {words[0]}"
        try:
            done = subprocess.run(
                [self._program, *words, *self._place], capture_output=True, check=False, stdin=subprocess.DEVNULL,
                timeout=timeout, env=self._environment, text=True, errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise LlmError("timeout", f"{shown} had not ended after {timeout:.0f} seconds.") from None
        except OSError as failure:
            raise LlmError("start_failed", f"{shown} could not be run: {failure.strerror}.") from None
        if done.returncode:
            said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
            what = (said or ["it said nothing"])[0].rstrip(".")[:300]
            raise LlmError("start_failed", f"{shown} ended with {done.returncode}: {what}.", said=said[:20])
        return done.stdout


def find_command(named: str = "") -> str | None:
    """The program by the name or path that was given, else in its usual places; None where it is not."""
    for command in [named] if named else _USUAL:
        found = shutil.which(str(Path(command).expanduser()) if "/" in command else command)
        if found:
            return found
    return None
