# SPDX-License-Identifier: GPL-3.0-or-later
"""The other runtimes of the host: stopped for one that wants it for itself, and started again when it fails."""

from __future__ import annotations

import contextlib
import time
import typing as t
from pathlib import Path

from .._core.layout import Layout
from .._engines.registry import engine_named
from .._host.generations import Generations, runtime_names
from .._host.lock import hold
from .._host.ownership import Owner
from .runtime_place import RuntimePlace, place_of
from .wait_healthy import wait_healthy

# Seconds that a task on one of them may keep us waiting.
_LOCK_TIMEOUT = 60.0


class OtherRuntimes:
    """All runtimes of a host but one."""

    def __init__(self, layout: Layout, name: str) -> None:
        self._layout = layout
        self._name = name

    def running(self) -> tuple[str, ...]:
        """Those that have a process of ours; what somebody else runs is not ours to stop."""
        return tuple(place.name for place in self._places(runtime_names(self._layout)) if _is_up(place))

    def members(self) -> frozenset[int]:
        """The processes of all of them."""
        places = self._places(runtime_names(self._layout))
        return frozenset().union(*(place.supervisor.process(place.name).members for place in places))

    def stop(self, names: t.Iterable[str]) -> None:
        for place in self._places(names):
            with self._alone(place.name):
                place.supervisor.stop(place.service)

    def start(self, names: t.Iterable[str], patience: float) -> None:
        """Start them again and wait until each is ready; they were proven when they were activated."""
        for place in self._places(names):
            generation = place.generations.active()
            if generation is None:
                continue
            with self._alone(place.name):
                started = time.time()
                place.supervisor.start(place.service)
                wait_healthy(place, engine_named(generation.engine), generation, started, patience)

    def _places(self, names: t.Iterable[str]) -> t.Iterator[RuntimePlace]:
        for name in names:
            generation = Generations(self._layout, name).active() if name != self._name else None
            place = place_of(generation, self._layout) if generation is not None else None
            if place is not None and place.supervisor.name != "external":
                yield place

    @contextlib.contextmanager
    def _alone(self, name: str) -> t.Iterator[None]:
        lock = Path(self._layout.run) / f"{name}.lock"
        with hold(lock, what=f"Runtime {name}", timeout=_LOCK_TIMEOUT, owner=Owner()):
            yield


def _is_up(place: RuntimePlace) -> bool:
    process = place.supervisor.process(place.name)
    return process.active or process.failing
