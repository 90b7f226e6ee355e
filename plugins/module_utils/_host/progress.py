# SPDX-License-Identifier: GPL-3.0-or-later
"""The live side of one operation: a small file that everybody may read, and that says that it lives."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import typing as t
from collections import deque
from pathlib import Path

from .._core.operation import Operation
from .ownership import Owner, make_folder

# Seconds between two writes of the file: at least while bytes come, at most while none do.
_PACE = 0.5
_PULSE = 1.0
# Seconds that the rate looks back.
_WINDOW = 10.0
# Seconds between two lines in the history, which outlives a reboot; the file does not.
_NOTED = 30.0


class Progress:
    """Several connections say at once what came; a thread of its own says that nothing did."""

    def __init__(self, operation: Operation, path: Path, owner: Owner, note: t.Callable[[Operation], None]) -> None:
        self.operation = operation
        self._path = path
        self._owner = owner
        self._note = note
        self._done = operation.bytes_done
        self._total = operation.bytes_total
        self._said = self._noted = time.monotonic()
        # Moments and the bytes that were here then.
        self._past: deque[tuple[float, int]] = deque([(self._said, self._done)])
        self._reported = False
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._pulse = threading.Thread(target=self._beat_on, daemon=True)

    def start(self) -> None:
        self._say()
        with contextlib.suppress(RuntimeError):
            # A host that has no thread left can still fetch.
            self._pulse.start()

    def stop(self) -> None:
        """Nothing is said or noted after this: what comes next is the operation's end."""
        self._ended.set()
        if self._pulse.is_alive():
            self._pulse.join()
        with self._lock, contextlib.suppress(OSError):
            self._settle()
            self._path.unlink(missing_ok=True)

    def add(self, count: int) -> None:
        """`count` more bytes are here."""
        with self._lock:
            self._done += count
            self._move()

    def report(self, done: int, total: int) -> None:
        """`done` of `total` bytes are here, as the program counts that fetches them."""
        with self._lock:
            if not self._reported or done < self._done:
                # What it had before, or what it begins again, did not come just now.
                self._past = deque([(time.monotonic(), done)])
                self._reported = True
            self._done, self._total = done, total or self._total
            self._move()

    def beat(self) -> None:
        """Say that it lives, and now and then note how far it is."""
        with self._lock:
            now = time.monotonic()
            if now - self._said >= _PULSE:
                self._settle()
                self._say()
            due = now - self._noted >= _NOTED
        if due:
            # Not under the lock: who fetches does not wait for the history's disk.
            self._noted = now
            self._note(self.operation)

    def _beat_on(self) -> None:
        while not self._ended.wait(_PULSE):
            self.beat()

    def _move(self) -> None:
        if time.monotonic() - self._said >= _PACE:
            self._settle()
            self._say()

    def _settle(self) -> None:
        """Bring the operation up to what is known; the rate is that of the last seconds, 0 when nothing comes."""
        now = time.monotonic()
        self._past.append((now, self._done))
        while len(self._past) > 2 and self._past[1][0] <= now - _WINDOW:
            self._past.popleft()
        then, had = self._past[0]
        rate = int((self._done - had) / (now - then)) if now > then else 0
        self.operation = self.operation.moved(self._done, self._total, time.time(), rate)

    def _say(self) -> None:
        self._said = time.monotonic()
        if self._ended.is_set():
            # A connection that has not noticed yet.
            return
        with contextlib.suppress(OSError):
            make_folder(self._path.parent, self._owner, 0o755)
            temporary = self._path.with_suffix(".new")
            temporary.write_text(self.operation.line(), encoding="utf-8")
            temporary.chmod(0o644)
            os.replace(temporary, self._path)
