# SPDX-License-Identifier: GPL-3.0-or-later
"""Several requests to one hub at once."""

from __future__ import annotations

import queue
import typing as t

from .._api.background import Background

Item = t.TypeVar("Item")
Result = t.TypeVar("Result")
# Public sites: few enough at once not to be taken for an attack.
_AT_ONCE = 4


def at_once(function: t.Callable[[Item], Result], items: t.Sequence[Item]) -> list[Result]:
    """What `function` gives for each item, in order; the first failure is raised when all are done."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(items)):
        waiting.put(number)
    results: dict[int, Result] = {}
    failures: dict[int, Exception] = {}

    def work() -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                results[number] = function(items[number])
            except Exception as failure:
                failures[number] = failure

    # All have begun before the first is waited for.
    for job in [Background(work) for _worker in items[:_AT_ONCE]]:
        job.result(None, None)
    if failures:
        raise failures[min(failures)]
    return [results[number] for number in range(len(items))]
