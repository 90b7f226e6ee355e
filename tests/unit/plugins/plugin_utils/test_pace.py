# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet shows about one line a second, whatever its size; by a clock that is set."""

from __future__ import annotations

from collections import Counter

import pytest
from ansible_collections.llmops.fleet.plugins.plugin_utils.pace import Pace

HOUR = 3600


def moments(hosts: int, forks: int, *, seconds: int = HOUR, delay: float = 0.0) -> dict[int, list[float]]:
    """When each host shows a line; `delay` is what Ansible takes to begin with one more of them."""
    found: dict[int, list[float]] = {}
    for position in range(min(hosts, forks)):
        pace = Pace(position, min(hosts, forks), position * delay)
        found[position] = []
        while pace.due < seconds:
            found[position].append(pace.due)
            pace.shown(pace.due + 0.2)
    return found


@pytest.mark.parametrize("delay", [0.0, 0.03])
@pytest.mark.parametrize(("hosts", "forks"), [(1, 5), (2, 5), (50, 50), (500, 500), (500, 5), (50, 20)])
def test_a_fleet_shows_a_line_a_second_at_most(hosts: int, forks: int, delay: float) -> None:
    shown = moments(hosts, forks, delay=delay)
    seconds = Counter(int(moment) for lines in shown.values() for moment in lines)
    assert max(seconds.values()) <= 2
    minutes = Counter(int(moment) // 60 for lines in shown.values() for moment in lines)
    # Where Ansible needs long to begin with all of them, the last turn of a round meets the first of the next one.
    assert max(minutes.values()) <= (75 if delay else 61)
    # Nobody is left out, and nobody is silent for longer than the others need.
    assert all(lines and lines[0] < 10 + hosts * 1.1 for lines in shown.values())
    longest = max(60, min(hosts, forks)) + 0.5
    assert all(after - before <= longest for lines in shown.values() for before, after in zip(lines, lines[1:]))


def test_one_host_shows_its_first_line_soon_and_less_and_less_often() -> None:
    lines = next(iter(moments(1, 5, seconds=400).values()))
    waits = [after - before for before, after in zip(lines, lines[1:])]
    assert (lines[0], waits[0], round(waits[-1])) == (4.0, 5.0, 60)
    assert waits == sorted(waits)


def test_what_had_nothing_to_show_comes_at_its_next_turn() -> None:
    pace = Pace(3, 50, 100.0)
    first = pace.due
    pace.missed(first + 0.1)
    assert pace.due == first + 50
    # Late, as when the items of a loop are short: not at once as often as there were turns.
    pace.missed(1000.0)
    assert pace.due == 1000.0
    pace.missed(1000.0)
    assert pace.due == 1050.0
