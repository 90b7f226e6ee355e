# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold served names against the models that a program keeps itself, which somebody may have pulled by hand."""

from __future__ import annotations

from .._core.errors import LlmError
from .._core.generation import ACTIVE
from .side import Side


def check_names(side: Side) -> None:
    """Raises `served_name_taken` for a name of another model that none of this runtime's generations had."""
    known = side.place.generations.all()
    ours = {name for generation in known if generation.status == ACTIVE for name in generation.served_names}
    taken = [name for name in side.engine.served(side.endpoint, side.settings).taken if name not in ours]
    if taken:
        raise LlmError(
            "served_name_taken", f"the served name {taken[0]} stands for another model that {side.engine.name} keeps."
        )


def foresee_names(side: Side) -> None:
    """The same before anything is touched, where its program is up and tells."""
    if not side.engine.resident or not side.settings.model_path or not side.process.active:
        return
    try:
        check_names(side)
    except LlmError as failure:
        # What it does not tell now is looked at when it is told to load.
        if failure.reason == "served_name_taken":
            raise failure.about(f"Runtime {side.place.name}") from None
