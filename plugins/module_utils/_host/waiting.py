# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting: one loop for every predicate."""

from __future__ import annotations

import time
import typing as t

Seen = t.TypeVar("Seen")
_SHORTEST, _LONGEST, _GROWTH = 0.02, 1.0, 1.5


def until(look: t.Callable[[], Seen], done: t.Callable[[Seen], bool], timeout: float) -> tuple[bool, Seen]:
    """Look again and again until `done` says so or `timeout` seconds are over; always look at least once.

    Returns whether it was done, and what was seen last. Pauses grow, so that a fast start is seen at once and
    a slow one is not disturbed.
    """
    deadline = time.monotonic() + timeout
    pause = _SHORTEST
    while True:
        seen = look()
        if done(seen):
            return True, seen
        left = deadline - time.monotonic()
        if left <= 0:
            return False, seen
        time.sleep(min(pause, left))
        pause = min(pause * _GROWTH, _LONGEST)
