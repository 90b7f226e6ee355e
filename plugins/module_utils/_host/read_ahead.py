# SPDX-License-Identifier: GPL-3.0-or-later
"""One file over several connections at once, handed on in order."""

from __future__ import annotations

import typing as t
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from .._core.ports import Origin

# Bytes that all connections together may have asked for and not yet handed on. They lie in memory, and a killed run
# loses them; with what the kernel holds they stay below one part.
WINDOW = 12 * 1024 * 1024
_LEAST_PIECE = 256 * 1024
_PROBE = 1024 * 1024


def blocks(origin: Origin, start: int, stop: int, *, window: int = WINDOW) -> t.Iterator[bytes]:
    """The bytes from `start` up to `stop`, in order.

    A small piece comes first and alone: only its answer tells whether the other side gives ranges at all.
    """
    piece = max(_LEAST_PIECE, window // max(1, origin.connections))
    if origin.connections <= 1 or stop - start <= piece:
        yield from origin.read(start, stop)
        return
    first = min(start + _PROBE, stop)
    yield from origin.read(start, first)
    if origin.connections <= 1:
        yield from origin.read(first, stop)
        return
    with ThreadPoolExecutor(max_workers=origin.connections) as pool:
        waiting: deque[Future[bytes]] = deque()
        position = first
        try:
            while waiting or position < stop:
                while position < stop and len(waiting) < origin.connections:
                    end = min(position + piece, stop)
                    waiting.append(pool.submit(_whole, origin, position, end))
                    position = end
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _whole(origin: Origin, start: int, stop: int) -> bytes:
    return b"".join(origin.read(start, stop))
