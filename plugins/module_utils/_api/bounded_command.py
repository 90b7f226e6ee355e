# SPDX-License-Identifier: GPL-3.0-or-later
"""One command with an end: it is asked to leave, then killed with its children, and never waited for beyond that."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import typing as t
from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    """What a command said. `status` is None where it had to be ended (`late`) or could not be started."""

    status: int | None
    out: str
    error: str
    late: bool = False


def run(words: t.Sequence[str], *, until: float, grace: float, environment: t.Mapping[str, str] | None = None) -> Ran:
    """Run a command until `until` (of time.monotonic) at most, and twice `grace` seconds for its end.

    A process that the kernel does not let die (a driver that hangs) is left to it.
    """
    try:
        process = subprocess.Popen(
            list(words), env=environment, text=True, encoding="utf-8", errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as failure:
        return Ran(None, "", f"{words[0]} could not be started: {failure}")
    with contextlib.suppress(subprocess.TimeoutExpired):
        out, error = process.communicate(timeout=max(0.01, until - time.monotonic()))
        return Ran(process.returncode, out, error)
    return _ended(process, grace)


def _ended(process: subprocess.Popen[str], grace: float) -> Ran:
    """End what we started; some programs say what they know when they are asked to end."""
    process.terminate()
    for _again in range(2):
        with contextlib.suppress(subprocess.TimeoutExpired):
            out, error = process.communicate(timeout=grace)
            _kill(process)
            return Ran(None, out, error, late=True)
        _kill(process)
    return Ran(None, "", "", late=True)


def _kill(process: subprocess.Popen[str]) -> None:
    # It leads a session of its own, so the group has its children and nobody else.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
