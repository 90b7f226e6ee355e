# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the bytes of a runtime's generations stay in the programs that keep them, as long as a rollback may want them."""

from __future__ import annotations

import contextlib
import typing as t

from .._core.errors import LlmError
from .._core.generation import ACTIVE, Generation
from .._core.layout import Layout
from .side import Side, side_of


def keep_bytes(side: Side, generations: t.Iterable[Generation]) -> None:
    """In the program of `side`: of those `generations` that were proven in it, and of no others of this runtime."""
    known = [side_of(each, side.place.layout) for each in generations if each.status == ACTIVE]
    digests = {each.settings.digest for each in known if not each.is_elsewhere(side)} - {""}
    side.engine.keep(side.endpoint, side.place.name, sorted(digests))


def keep_newest(layout: Layout, side: Side, count: int) -> None:
    """Drop the oldest records beyond those that a rollback may want, and what programs keep for those alone.

    The runtime serves already, so that a program which cannot be asked now is asked by the next activation.
    """
    records = side.place.generations
    programs = programs_of([each for each in records.all() if each.status == ACTIVE], layout)
    records.keep_newest(count)
    for program in programs:
        with contextlib.suppress(LlmError):
            keep_bytes(program, records.all())


def programs_of(generations: t.Iterable[Generation], layout: Layout) -> list[Side]:
    """The programs that stay up and are to serve these, each once, that of the newest first."""
    found: list[Side] = []
    for generation in generations:
        side = side_of(generation, layout)
        keeps = side.engine.resident and side.settings.model_path
        if keeps and all(side.is_elsewhere(other) for other in found):
            found.append(side)
    return found
