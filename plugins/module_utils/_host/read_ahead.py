# SPDX-License-Identifier: GPL-3.0-or-later
"""One file over several connections at once, handed on in order."""

from __future__ import annotations

import typing as t
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from .._core.ports import Origin

# Bytes a request. As many of them as there are connections lie in memory; together they are at most one part.
PIECE = 4 * 1024 * 1024


def blocks(origin: Origin, start: int, stop: int, *, piece: int = PIECE) -> t.Iterator[bytes]:
    """The bytes from `start` up to `stop`, in order.

    The first piece comes alone: only its answer tells whether the other side gives ranges at all.
    """
    if origin.connections <= 1 or stop - start <= piece:
        yield from origin.read(start, stop)
        return
    first = min(start + piece, stop)
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
