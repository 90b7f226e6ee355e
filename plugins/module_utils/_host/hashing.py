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

from .._api.local_file import hashed
from .._core.chunks import Chunk, parse
from .._core.digest import Digest
from .._core.model import FileEntry
from .durable import read_text
from .partial import chunks_path

_Item = t.TypeVar("_Item")
_Answer = t.TypeVar("_Answer")


@dataclass(frozen=True)
class Damage:
    """A file that is not what it must be; `bytes` of it must come again."""

    entry: FileEntry
    bytes: int


def holds(path: Path, digest: Digest, size: int) -> bool:
    """Whether the file is there with that size and hash."""
    try:
        return path.stat().st_size == size and hashed(path, digest.hasher(size)) == digest.value
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
            fine = hashed(path, entry.digest.hasher(entry.size)) == entry.digest.value
            return None if fine else Damage(entry, entry.size)
        drawn = parts if share >= 1 else [part for part in parts if random.random() < share]
        wrong = _wrong_parts(path, drawn)
        if not wrong:
            return None
        # One wrong part may be one of many; or the list itself is what went wrong.
        wrong = wrong if share >= 1 else _wrong_parts(path, parts)
        if hashed(path, entry.digest.hasher(entry.size)) == entry.digest.value:
            return None
    except (FileNotFoundError, NotADirectoryError):
        return Damage(entry, entry.size)
    return Damage(entry, sum(part.length for part in wrong))


def inspect_all(folder: Path, files: t.Sequence[FileEntry], chunks: Path, share: float) -> list[Damage]:
    """The damages of a folder's files, which have the lists of their parts in `chunks`; see `inspect`."""

    def look(entry: FileEntry) -> Damage | None:
        return inspect(folder / entry.path, entry, chunks_path(chunks, entry), share)

    return [damage for damage in _on_all_processors(look, files) if damage]


def _wrong_parts(path: Path, parts: t.Sequence[Chunk]) -> list[Chunk]:
    answers = _on_all_processors(lambda part: _part_holds(path, part), parts)
    return [part for part, fine in zip(parts, answers) if not fine]


def _on_all_processors(look: t.Callable[[_Item], _Answer], items: t.Sequence[_Item]) -> list[_Answer]:
    """Hashing leaves Python's lock alone, so each processor takes an item."""
    with ThreadPoolExecutor(max_workers=max(1, os.cpu_count() or 1)) as pool:
        return list(pool.map(look, items))


def _part_holds(path: Path, part: Chunk) -> bool:
    return hashed(path, hashlib.sha256(), part.start, part.stop) == part.sha256
