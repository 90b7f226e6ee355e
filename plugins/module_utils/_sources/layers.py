# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a pull has come, from lines that each speak of one layer."""

from __future__ import annotations

import time

from .._core.errors import LlmError
from .._core.ports import Workspace

# Seconds in which a program may say that it is pulling without a byte more.
_LONGEST_STALL = 900


class Layers:
    """Adds up what is known of each layer, and tells the workspace. Layers take turns, and some never show."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._layers: dict[str, tuple[int, int]] = {}
        self._most = 0
        self._grown = time.monotonic()

    def came(self, layer: str, completed: int, total: int, whole: int = 0) -> None:
        """`completed` of a layer's `total` bytes are here; `whole` is the size of the model, 0 if it is not said."""
        if not layer or not total:
            return
        self._layers[layer] = (completed, total)
        done = sum(completed for completed, _total in self._layers.values())
        if done > self._most:
            self._most, self._grown = done, time.monotonic()
        elif time.monotonic() - self._grown > _LONGEST_STALL:
            raise LlmError("timeout", f"no byte came for {_LONGEST_STALL} s, though it says that it is pulling.")
        self._workspace.report(done, max(whole, sum(total for _completed, total in self._layers.values())))
