# SPDX-License-Identifier: GPL-3.0-or-later
"""The nearest wire of all: a file of this host as the origin of a model's bytes."""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

_BLOCK = 1 << 20


class LocalFile:
    """Reads ranges of one file. The disk gives no more for being asked twice at once."""

    connections = 1

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, start: int, stop: int) -> t.Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(start)
            while start < stop and (block := file.read(min(_BLOCK, stop - start))):
                start += len(block)
                yield block

    def doubt(self) -> None:
        """There is no other file."""


def sha256_of(path: Path) -> str:
    """The hexadecimal sha256 of a file."""
    return hashed(path, hashlib.sha256())


def hashed(path: Path, hasher: t.Any, start: int = 0, stop: int | None = None) -> str:
    """What the hasher makes of a file, or of its bytes from `start` to before `stop`, in hexadecimal."""
    buffer = bytearray(_BLOCK)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        left = _BLOCK if stop is None else stop - start
        while left and (count := file.readinto(view[: min(_BLOCK, left)])):
            hasher.update(view[:count])
            if stop is not None:
                left -= count
    value: str = hasher.hexdigest()
    return value
