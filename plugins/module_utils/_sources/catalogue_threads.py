# SPDX-License-Identifier: GPL-3.0-or-later
"""Several requests to one hub at once, in threads that nobody has to wait for.

`concurrent.futures` joins its threads when the process ends, so one that hangs on a dripping answer would keep a module
that has long given its result from leaving.
"""

from __future__ import annotations

import queue
import threading
import typing as t

Item = t.TypeVar("Item")
Result = t.TypeVar("Result")
# Public sites: few enough at once not to be taken for an attack.
_AT_ONCE = 4


def at_once(function: t.Callable[[Item], Result], items: t.Sequence[Item]) -> list[Result]:
    """What `function` gives for each item, in order; the first failure is raised when all are done."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
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

    for number in range(len(items)):
        waiting.put(number)
    threads = [threading.Thread(target=work, daemon=True) for _thread in items[:_AT_ONCE]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[min(failures)]
    return [results[number] for number in range(len(items))]
