# SPDX-License-Identifier: GPL-3.0-or-later
"""Hubs that list families of models, each with a page of its own for its sizes: as many are read as are wanted."""

from __future__ import annotations

import typing as t

from .._core.catalogue_entry import Entry, Listing, Query, numbered
from .._core.errors import LlmError
from .catalogue_threads import at_once

Family = t.TypeVar("Family")
# Families read before it is seen whether there is enough.
_STEP = 4


def expanded(
    families: t.Sequence[Family],
    members: t.Callable[[Family], t.Sequence[Entry]],
    plain: t.Callable[[Family], t.Sequence[Entry]],
    query: Query,
) -> Listing:
    """The members of families that match, in order, until there are as many as are asked for.

    A family whose page cannot be read is listed with what the first page said of it (`plain`), and the first such
    failure is told.
    """
    found: list[Entry] = []
    problems: list[str] = []

    def read(family: Family) -> tuple[t.Sequence[Entry], str]:
        try:
            return members(family), ""
        except LlmError as failure:
            return plain(family), str(failure)

    for start in range(0, len(families), _STEP):
        if len(found) >= query.limit:
            break
        for entries, problem in at_once(read, families[start : start + _STEP]):
            found += filter(query.matches, entries)
            problems += [problem] if problem else []
    return Listing(numbered(found[: query.limit]), tuple(problems[:1]))
