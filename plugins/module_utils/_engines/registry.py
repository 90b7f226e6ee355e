# SPDX-License-Identifier: GPL-3.0-or-later
"""All engines by name. A new one is its file and a line here."""

from __future__ import annotations

from .._core.engine import Engine
from .._core.errors import LlmError
from .llama_cpp import LlamaCpp

ENGINES: dict[str, Engine] = {
    LlamaCpp.name: LlamaCpp(),
}


def engine_named(name: str) -> Engine:
    try:
        return ENGINES[name]
    except KeyError:
        raise LlmError(
            "unknown_engine", f"The engine '{name}' is unknown.", remedy=f"Use one of: {', '.join(sorted(ENGINES))}."
        ) from None
