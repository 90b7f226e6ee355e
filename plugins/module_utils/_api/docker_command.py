# SPDX-License-Identifier: GPL-3.0-or-later
"""The docker command, for looking only: what it may be asked is a short list, each question has an end.

Facts are of Docker 20.10 and 28.2 and of recorded runs (tests/fixtures/contracts/docker_model_runner).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import typing as t
from pathlib import Path

from .._core.errors import LlmError
from .bounded_command import Ran, run
from .daemon import go_reason

# Commands that change nothing. `docker model …` is not among them: its `status` removes a stopped runner's container,
# and others install one.
_LOOKS = (("version",), ("info",), ("ps",), ("inspect",), ("context", "inspect"))
# Where Docker Desktop and package managers put the program; a connection over SSH often has not got these in PATH.
_PLACES = ("/usr/local/bin", "/opt/homebrew/bin", "~/.docker/bin", "/Applications/Docker.app/Contents/Resources/bin")
_DENIED = re.compile(r"permission denied", re.IGNORECASE)
_NOT_THERE = re.compile(
    r"cannot connect to the docker daemon|is the docker daemon running|failed to connect to the docker api"
    r"|error during connect|no such file or directory|host is down",
    re.IGNORECASE,
)
# How a word of `docker ps` shows ports: `0.0.0.0:12434->12434/tcp`, `[::]:8000-8010->8000-8010/tcp`.
_PUBLISHED = re.compile(r":(\d{1,5})(?:-(\d{1,5}))?->")


class Said(Ran):
    """What the docker command said."""

    def documents(self) -> list[dict[str, t.Any]]:
        """The JSON objects among its lines, or in the list that it is."""
        found: list[t.Any] = []
        with contextlib.suppress(ValueError, RecursionError):
            whole = json.loads(self.out)
            found = whole if isinstance(whole, list) else [whole]
        if not found:
            for line in self.out.splitlines():
                with contextlib.suppress(ValueError, RecursionError):
                    found.append(json.loads(line))
        return [entry for entry in found if isinstance(entry, dict)]

    def document(self) -> dict[str, t.Any] | None:
        return next(iter(self.documents()), None)

    def complaint(self, doing: str) -> LlmError:
        """Why it did not come to an answer to `doing` ("tell its version")."""
        last = next((line.strip() for line in reversed(self.error.splitlines()) if line.strip()), "")[:300]
        last = (last or "it gave no answer to read").rstrip(".")
        sentence = f"The docker command could not {doing}: {last}{'' if last.endswith('?') else '.'}"
        if self.late:
            return LlmError("timeout", f"The docker command was asked to {doing} and did not end in time.")
        if _DENIED.search(self.error):
            return LlmError("permission_denied", sentence)
        if _NOT_THERE.search(self.error) or go_reason(self.error) == "unreachable":
            return LlmError("unreachable", sentence)
        return LlmError("hub_error", sentence)


def find_docker(name: str) -> str | None:
    """The path of the program; None where the host has none."""
    if os.sep in name:
        return shutil.which(str(Path(name).expanduser()))
    places = os.pathsep.join([os.environ.get("PATH", ""), *(str(Path(place).expanduser()) for place in _PLACES)])
    return shutil.which(name, path=places)


class DockerCommand:
    """The program at `executable`. No command outlives `until` (of time.monotonic) by more than twice `grace`."""

    def __init__(self, executable: str, *, until: float, grace: float) -> None:
        self._executable = executable
        self._until = until
        self._grace = grace

    def ask(self, *words: str) -> Said:
        """Run one of the commands that only look; raises ValueError for any other."""
        if not any(words[: len(look)] == look for look in _LOOKS):
            raise ValueError(f"docker {' '.join(words)} is not known to change nothing")
        environment = {"HOME": str(Path.home()), **os.environ, "DOCKER_CLI_HINTS": "false"}
        ran = run([self._executable, *words], until=self._until, grace=self._grace, environment=environment)
        return Said(ran.status, ran.out, ran.error, ran.late)


def published(ports: str, port: int) -> bool:
    """Whether the column `Ports` of `docker ps` has the host's `port`."""
    return any(int(found[1]) <= port <= int(found[2] or found[1]) for found in _PUBLISHED.finditer(ports))
