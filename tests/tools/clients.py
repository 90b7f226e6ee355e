# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of a runtime that ask at a steady rate, and what became of each of their requests."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ask import ask


@dataclass(frozen=True)
class Request:
    """Moments of time.monotonic(); `reply` is None where none came."""

    sent: float
    ended: float
    reply: str | None

    def meets(self, begin: float, end: float) -> bool:
        """Whether it was under way at any moment between these."""
        return self.sent <= end and self.ended >= begin


class Clients:
    """Requests at a steady rate, whether the ones before have been answered or not."""

    def __init__(self, port: int, rate: float) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._rate = rate
        self._over = threading.Event()
        self._asking = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self.requests: list[Request] = []

    def __enter__(self) -> Clients:
        self._asking.set()
        self._thread.start()
        return self

    def __exit__(self, *_arguments: object) -> None:
        self._over.set()
        self._asking.set()
        self._thread.join()

    @contextlib.contextmanager
    def silent(self) -> t.Iterator[None]:
        """Nobody asks meanwhile."""
        self._asking.clear()
        try:
            yield
        finally:
            self._asking.set()

    def _go_on(self) -> None:
        with ThreadPoolExecutor(max(1, round(self._rate))) as pool:
            due = time.monotonic()
            while not self._over.wait(max(0.0, due - time.monotonic())):
                if self._asking.is_set():
                    pool.submit(self._ask)
                due = max(due + 1 / self._rate, time.monotonic() - 1)

    def _ask(self) -> None:
        sent, reply = time.monotonic(), None
        with contextlib.suppress(OSError, http.client.HTTPException):
            reply = ask(self._url, timeout=10)
        self.requests.append(Request(sent, time.monotonic(), reply))
