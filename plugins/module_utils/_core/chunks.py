# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashes of a file's parts: what lets a cut or damaged file cost its bad parts only.

The hash of the whole file is what proves it; the parts' hashes only say where a wrong byte is.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

# Bytes a part, at most (one that a run left off in is shorter): the most that a killed run loses of a file, and the least that a repair fetches.
CHUNK = 16 * 1024 * 1024
_LINE = re.compile(r"(\d+) (\d+) ([0-9a-f]{64})")


@dataclass(frozen=True)
class Chunk:
    """The bytes from `start` on, `length` of them, hash to `sha256`."""

    start: int
    length: int
    sha256: str

    @property
    def stop(self) -> int:
        return self.start + self.length

    def line(self) -> str:
        return f"{self.start} {self.length} {self.sha256}\n"


def parse(text: str) -> list[Chunk]:
    """The parts that a list names, from the first byte on and without a gap.

    A later line for the same start replaces an earlier one: that part was mended. Lines that were cut or are no
    lines are left out.
    """
    found: dict[int, Chunk] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match:
            chunk = Chunk(int(match[1]), int(match[2]), match[3])
            found[chunk.start] = chunk
    chunks: list[Chunk] = []
    position = 0
    while position in found and found[position].length > 0:
        chunks.append(found[position])
        position = found[position].stop
    return chunks


def render(chunks: t.Iterable[Chunk]) -> str:
    return "".join(chunk.line() for chunk in chunks)
