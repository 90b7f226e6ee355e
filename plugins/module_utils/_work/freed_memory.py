# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes free when sides are left: whole processes that are ours, and models of programs that go on."""

from __future__ import annotations

import typing as t

from .._core.errors import LlmError
from .._core.room import Given
from .loaded_model import is_loaded, is_theirs
from .side import Side


def ending(sides: t.Iterable[Side]) -> frozenset[int]:
    """The processes that end with them: whatever somebody else runs goes on."""
    return frozenset().union(*(side.process.members for side in sides if not is_theirs(side)))


def given_back(sides: t.Iterable[Side]) -> list[Given]:
    """What programs that somebody else runs give back; one that unloads no model gives nothing."""
    found: dict[frozenset[int], Given] = {}
    for side in sides:
        if is_theirs(side) and side.engine.resident and is_loaded(side) is not False:
            members = side.process.members
            ram, vram = _held(side)
            known = found.get(members, Given(members, 0, 0))
            # Two of them may have their models in one program.
            found[members] = Given(members, _sum(known.ram, ram), _sum(known.vram, vram))
    return list(found.values())


def _held(side: Side) -> tuple[int | None, int | None]:
    """Bytes of RAM and of GPU memory that the model takes, by what its engine tells."""
    try:
        served = side.engine.served(side.endpoint, side.settings)
    except LlmError:
        return None, None
    if served.memory_bytes is None or served.vram_bytes is None:
        return None, served.vram_bytes
    return max(0, served.memory_bytes - served.vram_bytes), served.vram_bytes


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
