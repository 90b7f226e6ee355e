# SPDX-License-Identifier: GPL-3.0-or-later
"""The model that a program which somebody else runs has in memory for a runtime of ours."""

from __future__ import annotations

from .._core.engine import READY, SLEEPING
from .._core.errors import LlmError
from .side import Side


def is_theirs(side: Side) -> bool:
    return side.place.supervisor.name == "external"


def is_loaded(side: Side) -> bool | None:
    """None where it goes on whatever we wish: the program does not answer, or cannot be told to let go of a model."""
    if not side.settings.model_path or not side.process.active:
        return False
    state = side.engine.health(side.endpoint).state
    if not side.engine.resident:
        return False if state == SLEEPING else None
    if state != READY:
        return None
    try:
        return side.engine.served(side.endpoint, side.settings).loaded
    except LlmError:
        return None


def goes_on(side: Side) -> str:
    """What there is to tell of one that `is_loaded` knows no answer for."""
    name = side.engine.name
    why = f"what listens on its port does not answer as {name}" if side.engine.resident else f"{name} unloads no model"
    return f"Runtime {side.place.name} goes on: somebody else runs it, and {why}."
