# SPDX-License-Identifier: GPL-3.0-or-later
"""A limit on how fast bytes come in, shared by all connections of a run."""

from __future__ import annotations

import threading
import time


class Bandwidth:
    """`limit` is bytes a second; 0 is no limit."""

    def __init__(self, limit: int = 0) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._due = 0.0

    @property
    def block(self) -> int:
        """Bytes to read at once, so that a slow limit is kept within a fraction of a second."""
        return 1 << 20 if not self._limit else max(1024, min(1 << 20, self._limit // 8))

    def spend(self, count: int) -> None:
        """Wait until `count` bytes that have come are within the limit."""
        if not self._limit:
            return
        with self._lock:
            now = time.monotonic()
            self._due = max(self._due, now) + count / self._limit
            wait = self._due - now
        time.sleep(wait)
