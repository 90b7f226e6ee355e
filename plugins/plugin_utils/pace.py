# SPDX-License-Identifier: GPL-3.0-or-later
"""When one host of a fleet shows its lines, so that all of them together show about one a second."""

from __future__ import annotations

# Seconds before the first line, so that a short run shows none.
_FIRST = 4.0
# Seconds between two lines of one host: for a small fleet, and when a small fleet is at it for long.
_SHORTEST = 5.0
_LONGEST = 60.0
_SLOWER = 1.5
# Seconds between two lines of the whole fleet.
_APART = 1.0


class Pace:
    """The moment `due` of the next line; `position` is the host's place among the `crowd` that runs at once.

    Hosts begin together and wait equally long, so what is spread at first stays so. The waits of a small fleet grow
    up to a minute; those of a large one are as long as it is large.
    """

    def __init__(self, position: int, crowd: int, began: float) -> None:
        self._wait = self._turn = max(_SHORTEST, crowd * _APART)
        self.due = began + _FIRST + position % crowd * self._turn / crowd

    def shown(self, now: float) -> None:
        self.due = max(self.due, now - self._turn) + self._wait
        self._wait = max(self._turn, min(_LONGEST, self._wait * _SLOWER))

    def missed(self, now: float) -> None:
        """There was nothing to show yet: the turn goes on to the others."""
        self.due = max(self.due, now - self._turn) + self._turn
