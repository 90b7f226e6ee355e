# SPDX-License-Identifier: GPL-3.0-or-later
"""How each engine is offered a model it can serve. A new engine joins the contract with a line in `OFFERS`."""

from __future__ import annotations

import typing as t
from pathlib import Path


class Offer(t.NamedTuple):
    """Names of files below the reciters' folder, options, and lines of a failing engine's log with their meaning."""

    good: str
    other: str
    unsuitable: str
    options: dict[str, t.Any]
    logs: dict[str, str]


RECORDED = Path(__file__).resolve().parents[2] / "fixtures" / "contracts"

OFFERS: dict[str, Offer] = {
    "llama_cpp": Offer(
        good="alpha.gguf",
        other="beta.gguf",
        unsuitable="notes.gguf",
        options={"threads": 1},
        logs={
            "file missing": "permission_denied",
            "not GGUF": "model_unsuitable",
            "cut in the middle": "model_unsuitable",
            "port taken": "port_in_use",
            "unknown option": "invalid_input",
            "unknown architecture": "model_unsuitable",
        },
    ),
}
