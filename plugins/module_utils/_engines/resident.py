# SPDX-License-Identifier: GPL-3.0-or-later
"""What engines have in common that stay up while models come and go."""

from __future__ import annotations

from .._core.engine import Settings
from .._core.fit import Fit, Room, element_bytes, fit, need_of
from .._core.traits import Traits


class Resident:
    """The parts of `Engine` that such an engine need not say again."""

    resident = True
    listens_everywhere = False
    places_threads = False
    reads_interfaces = False
    # Where an option says how many requests are worked on at once, and of which type the cache's numbers are.
    parallel_option = ""
    cache_option = ""

    def fit(self, traits: Traits, settings: Settings, room: Room) -> Fit:
        options = settings.options
        need = need_of(
            traits,
            context=settings.context_length,
            parallel=int(options.get(self.parallel_option) or 1),
            number_bytes=element_bytes(str(options.get(self.cache_option) or "")),
            share=1.0 if room.vram is not None else 0.0,
        )
        # All of them run llama.cpp, and leave in RAM what a GPU has no room for.
        return fit(need, room, spills=True)
