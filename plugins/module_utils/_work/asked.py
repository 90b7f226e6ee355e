# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a host that may never be answered: each is waited for no longer than wished."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import typing as t

from .._api.background import Background
from .._core.diagnosis_summary import Answer
from .._core.errors import LlmError


class Asked:
    """One question, asked at once and beside others."""

    def __init__(self, question: t.Callable[[], t.Any]) -> None:
        self._job = Background(lambda: _answer(question))

    def answer(self, deadline: float) -> Answer:
        """The answer as far as it is there at `deadline` (of time.monotonic)."""
        return self._job.result(deadline, Answer(error="it did not answer in time"))


def _answer(question: t.Callable[[], t.Any]) -> Answer:
    try:
        return Answer(question())
    except LlmError as failure:
        return Answer(error=failure.what)
    except FileNotFoundError as failure:
        return Answer(error=f"{failure.filename} is not there")
    except OSError as failure:
        return Answer(error=f"{failure.filename or 'the host'}: {failure.strerror or failure}")
    except Exception as failure:
        # A report on what is broken must be had from a host where anything may be.
        return Answer(error=f"{type(failure).__name__}: {failure}")


def said_by(command: str, *arguments: str, seconds: float) -> str | None:
    """What a tool prints; None without the tool. Raises `supervisor_failed` for one that hangs or fails."""
    path = shutil.which(command)
    if not path:
        return None
    tool = subprocess.Popen(
        [path, *arguments],
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        said, complaint = tool.communicate(timeout=max(0.1, seconds))
    except subprocess.TimeoutExpired:
        # It is not waited for: one that hangs in the kernel does not even end when it is killed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(tool.pid, signal.SIGKILL)
        raise LlmError("supervisor_failed", f"{command} did not return within {seconds:.0f} s") from None
    if tool.returncode:
        first = (complaint.strip().splitlines() or ["it did not say why"])[0]
        raise LlmError("supervisor_failed", f"{command} failed: {first}")
    return said
