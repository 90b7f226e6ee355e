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
import signal
import subprocess
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .._core.errors import LlmError
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
_PUBLISHED = re.compile(r":(\d+)(?:-(\d+))?->")


@dataclass(frozen=True)
class Said:
    """What a command said. `status` is None where it had to be ended (`late`) or could not be started."""

    status: int | None
    out: str
    error: str
    late: bool = False

    def documents(self) -> list[dict[str, t.Any]]:
        """The JSON objects among its lines, or in the list that it is."""
        found: list[t.Any] = []
        with contextlib.suppress(ValueError):
            whole = json.loads(self.out)
            found = whole if isinstance(whole, list) else [whole]
        if not found:
            for line in self.out.splitlines():
                with contextlib.suppress(ValueError):
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
        try:
            process = subprocess.Popen(
                [self._executable, *words], env=environment, text=True, encoding="utf-8", errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        except OSError as failure:
            return Said(None, "", f"{self._executable} could not be started: {failure}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            out, error = process.communicate(timeout=max(0.01, self._until - time.monotonic()))
            return Said(process.returncode, out, error)
        return self._end(process)

    def _end(self, process: subprocess.Popen[str]) -> Said:
        """End what we started, and its children; a newer client says what it knows when it is asked to end."""
        process.terminate()
        for _again in range(2):
            with contextlib.suppress(subprocess.TimeoutExpired):
                out, error = process.communicate(timeout=self._grace)
                return Said(None, out, error, late=True)
            # It leads a session of its own, so the group has its children and nobody else.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return Said(None, "", "", late=True)


def published(ports: str, port: int) -> bool:
    """Whether the column `Ports` of `docker ps` has the host's `port`."""
    return any(int(found[1]) <= port <= int(found[2] or found[1]) for found in _PUBLISHED.finditer(ports))
