# SPDX-License-Identifier: GPL-3.0-or-later
"""How an interrupted activation is ended: decided from its journal and its records, before anything is done."""

from __future__ import annotations

from .generation import ACTIVE, Generation
from .journal import Transaction
from .outcome import Difference

# Nothing was changed; only the last word is missing; it is gone on with; what it did is undone.
CLOSE, COMMIT, FINISH, GO_BACK = "close", "commit", "finish", "go back"


def way_out(left: Transaction, candidate: Generation | None, *, finish: bool) -> str:
    """`finish`: what it was to bring up is what is asked for now."""
    if not left.touched:
        return CLOSE
    if candidate and candidate.status == ACTIVE and left.from_generation != left.to_generation:
        return COMMIT
    return FINISH if finish and candidate and left.has_written else GO_BACK


def told_of(left: Transaction) -> str:
    return f"An activation of generation {left.to_generation} was interrupted at step '{left.step}'"


def difference_of(left: Transaction, name: str) -> tuple[Difference, ...]:
    """What a diff shows of it; nothing where nothing was changed."""
    return (Difference(f"runtime {name}", f"{told_of(left)}.\n", "It is ended.\n"),) if left.touched else ()
