# SPDX-License-Identifier: GPL-3.0-or-later
"""Work beside other work, in threads that nobody has to wait for.

`concurrent.futures` joins its threads when the process ends, so one that hangs on a dripping answer would keep a module
that has long given its result from leaving. These threads end with the process.
"""

from __future__ import annotations

import threading
import time
import typing as t

T = t.TypeVar("T")
Other = t.TypeVar("Other")


class Background(t.Generic[T]):
    """A job that has begun. Nobody waits for it longer than is said, not even the end of the program."""

    def __init__(self, job: t.Callable[[], T]) -> None:
        self._job = job
        self._value: list[T] = []
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._value.append(self._job())
        except Exception as failure:
            self._failure = failure

    def result(self, until: float | None, otherwise: Other) -> T | Other:
        """What the job gave, `otherwise` where it has not ended at `until` (of time.monotonic). Raises what it raised.

        `until` lies in the nearer future: a wait of centuries is refused by Python. None waits for the end.
        """
        self._thread.join(None if until is None else max(0.0, until - time.monotonic()))
        if self._failure is not None:
            raise self._failure
        return self._value[0] if self._value else otherwise
