# SPDX-License-Identifier: GPL-3.0-or-later
"""What engines have in common that stay up while models come and go."""

from __future__ import annotations

import typing as t

from .._core.engine import Endpoint, Settings
from .._core.fit import Fit, element_bytes, fit, need_of
from .._core.room import Room
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

    def check_sleep(self, settings: Settings) -> None:
        """What goes to sleep is the model; the program need not have been started for it."""

    def keep(self, endpoint: Endpoint, runtime: str, digests: t.Collection[str]) -> None:
        """Nothing, where bytes need no name to stay, or where the engine tells of none."""

    def fit(self, traits: Traits, settings: Settings, room: Room) -> Fit:
        options = settings.options
        need = need_of(
            traits,
            context=settings.context_length,
            parallel=int(options.get(self.parallel_option) or 1),
            number_bytes=element_bytes(str(options.get(self.cache_option) or "")),
            share=1.0 if room.gpu else 0.0,
        )
        # All of them run llama.cpp, and leave in RAM what a GPU has no room for.
        return fit(need, room, spills=True)
