# SPDX-License-Identifier: GPL-3.0-or-later
"""What files on the disk hash to, and which parts of them are wrong."""

from __future__ import annotations

import hashlib
import os
import random
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .._core.chunks import Chunk, parse
from .._core.digest import Digest
from .._core.model import FileEntry
from .durable import read_text

_BLOCK = 1 << 20
_Done = t.TypeVar("_Done")


@dataclass(frozen=True)
class Damage:
    """A file that is not what it must be; `bytes` of it must come again."""

    entry: FileEntry
    bytes: int


def holds(path: Path, digest: Digest, size: int) -> bool:
    """Whether the file is there with that size and hash."""
    try:
        return path.stat().st_size == size and _hashed(path, digest.hasher(size)) == digest.value
    except (FileNotFoundError, NotADirectoryError):
        return False


def inspect(path: Path, entry: FileEntry, chunks: Path, share: float) -> Damage | None:
    """Hash a file, or a random `share` (0 to 1) of its parts, against what it must be.

    The parts' hashes were taken from the very bytes that the file's own hash proved, so all of them together prove it
    as well; and they can be looked at side by side.
    """
    parts = parse(read_text(chunks) or "")
    whole = bool(parts) and parts[-1].stop == entry.size
    try:
        if path.stat().st_size != entry.size:
            return Damage(entry, entry.size)
        if not whole:
            fine = _hashed(path, entry.digest.hasher(entry.size)) == entry.digest.value
            return None if fine else Damage(entry, entry.size)
        drawn = parts if share >= 1 else [part for part in parts if random.random() < share]
        wrong = _wrong_parts(path, drawn)
        if not wrong:
            return None
        # One wrong part may be one of many; or the list itself is what went wrong.
        wrong = wrong if share >= 1 else _wrong_parts(path, parts)
        if _hashed(path, entry.digest.hasher(entry.size)) == entry.digest.value:
            return None
    except (FileNotFoundError, NotADirectoryError):
        return Damage(entry, entry.size)
    return Damage(entry, sum(part.length for part in wrong))


def _wrong_parts(path: Path, parts: t.Sequence[Chunk]) -> list[Chunk]:
    with ThreadPoolExecutor(max_workers=max(1, os.cpu_count() or 1)) as pool:
        return [part for part, fine in zip(parts, pool.map(lambda part: _part_holds(path, part), parts)) if not fine]


def side_by_side(work: t.Callable[[FileEntry], _Done], files: t.Sequence[FileEntry]) -> list[_Done]:
    """Do something with every file; hashing leaves Python's lock alone, so each processor takes one."""
    with ThreadPoolExecutor(max_workers=max(1, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, files))


def _part_holds(path: Path, part: Chunk) -> bool:
    return _hashed(path, hashlib.sha256(), part.start, part.stop) == part.sha256


def _hashed(path: Path, hasher: t.Any, start: int = 0, stop: int | None = None) -> str:
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
