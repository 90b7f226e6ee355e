# SPDX-License-Identifier: GPL-3.0-or-later
"""A number of seconds that a user gave."""

from __future__ import annotations

import typing as t

from .errors import LlmError

# A day: longer than anybody waits for an answer, and far from the numbers that timers refuse.
LONGEST = 86_400.0


def seconds_of(value: t.Any, option: str = "timeout") -> float:
    """The seconds; raises `invalid_input` for none, for less than none, and for what is no number."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if not 0 < seconds <= LONGEST:
        raise LlmError(
            "invalid_input",
            f"The option {option} is {value!r}, which is no time that can be waited for.",
            remedy=f"Give seconds above 0, at most {LONGEST:g}.",
        )
    return seconds
