# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a pull has come, from lines that each speak of one layer."""

from __future__ import annotations

from .._core.ports import Workspace


class Layers:
    """Adds up what is known of each layer, and tells the workspace. Layers take turns, and some never show."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._layers: dict[str, tuple[int, int]] = {}

    def came(self, layer: str, completed: int, total: int, whole: int = 0) -> None:
        """`completed` of a layer's `total` bytes are here; `whole` is the size of the model, 0 if it is not said."""
        if not layer or not total:
            return
        self._layers[layer] = (completed, total)
        done = sum(completed for completed, _total in self._layers.values())
        self._workspace.report(done, max(whole, sum(total for _completed, total in self._layers.values())))
