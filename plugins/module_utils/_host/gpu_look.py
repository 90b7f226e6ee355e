# SPDX-License-Identifier: GPL-3.0-or-later
"""What the GPU tools tell at one time, for all that is observed then: they take long, and are asked once."""

from __future__ import annotations

import time

from .._api.background import Background
from .._core.gpu import Gpu
from . import gpu

# Seconds that a look at the host waits for them.
_PATIENCE = 3.0


class GpuLook:
    """Answers that come beside other work. Nobody waits for them longer than `until` (of time.monotonic)."""

    def __init__(self, until: float, held: Background[dict[int, int]], cards: Background[list[Gpu]]) -> None:
        self._until = until
        self._held = held
        self._cards = cards

    def held(self) -> dict[int, int]:
        """Bytes of GPU memory by process; empty where no tool tells of any."""
        return self._held.result(self._until, {})

    def cards(self) -> list[Gpu]:
        """Every card; empty where no tool tells of any."""
        return self._cards.result(self._until, [])


def look_at_gpus() -> GpuLook:
    """Begin to ask."""
    return GpuLook(time.monotonic() + _PATIENCE, Background(gpu.vram_by_pid), Background(gpu.gpus))
