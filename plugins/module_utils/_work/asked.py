# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a host that may never be answered: each in a thread of its own, waited for no longer than wished."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
import typing as t

from .._core.diagnosis_summary import Answer
from .._core.errors import LlmError


class Asked:
    """One question, asked at once. Nobody waits for a thread that hangs, not even the end of the process."""

    def __init__(self, question: t.Callable[[], t.Any]) -> None:
        self._question = question
        self._answer: Answer | None = None
        self._answered = threading.Event()
        threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        try:
            self._answer = Answer(self._question())
        except LlmError as failure:
            self._answer = Answer(error=failure.what)
        except FileNotFoundError as failure:
            self._answer = Answer(error=f"{failure.filename} is not there")
        except OSError as failure:
            self._answer = Answer(error=f"{failure.filename or 'the host'}: {failure.strerror or failure}")
        except Exception as failure:
            # A report on what is broken must be had from a host where anything may be.
            self._answer = Answer(error=f"{type(failure).__name__}: {failure}")
        self._answered.set()

    def answer(self, deadline: float) -> Answer:
        """The answer as far as it is there at `deadline` (monotonic seconds)."""
        self._answered.wait(max(0.0, deadline - time.monotonic()))
        return self._answer or Answer(error="it did not answer in time")


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
