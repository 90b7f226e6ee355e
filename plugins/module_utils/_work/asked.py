# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a host that may never be answered: each is waited for no longer than wished."""

from __future__ import annotations

import shutil
import typing as t

from .._api.background import Background
from .._api.bounded_command import run
from .._core.diagnosis_summary import Answer
from .._core.errors import LlmError

# Seconds that a tool may take to end when it is told to.
GRACE = 0.1


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


def said_by(command: str, *arguments: str, until: float) -> str:
    """What a tool prints until `until` (of time.monotonic); raises `supervisor_failed` for one that hangs or fails."""
    path = shutil.which(command)
    if not path:
        raise LlmError("supervisor_failed", f"there is no {command}")
    done = run([path, *arguments], until=until, grace=GRACE)
    if done.late:
        raise LlmError("supervisor_failed", f"{command} did not return in time")
    if done.status:
        raise LlmError("supervisor_failed", f"{command} failed: {(done.error.strip().splitlines() or ['?'])[0]}")
    return done.out
