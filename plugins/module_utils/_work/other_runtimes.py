# SPDX-License-Identifier: GPL-3.0-or-later
"""The other runtimes of the host: stopped for one that wants it for itself, and started again when it fails."""

from __future__ import annotations

import contextlib
import time
import typing as t
from pathlib import Path

from .._core.collision import collides
from .._core.errors import LlmError
from .._core.generation import Generation
from .._core.layout import Layout
from .._host.generations import Generations, runtime_names
from .._host.lock import hold
from .._host.ownership import Owner
from .freed_memory import ending
from .loaded_model import goes_on, is_loaded, is_theirs
from .side import Side, side_of
from .wait_healthy import loading_time, wait_healthy

# Seconds that a task on one of them may keep us waiting.
_LOCK_TIMEOUT = 60.0


class OtherRuntimes:
    """All runtimes of a host but one."""

    def __init__(self, layout: Layout, name: str) -> None:
        self._layout = layout
        self._name = name

    def running(self, besides: Generation) -> tuple[str, ...]:
        """Those that have a process of ours, or a model in the memory of a program that somebody else runs.

        `besides` is what is to have the host for itself: the same bytes in the same program are its own.
        """
        return tuple(
            side.place.name for side in self.sides() if not _is_shared(side.generation, besides) and _is_up(side)
        )

    def going_on(self) -> list[str]:
        """What there is to tell of those that somebody else runs and that will not make room."""
        return [goes_on(side) for side in self.sides() if is_theirs(side) and is_loaded(side) is None]

    def members(self, names: t.Iterable[str] | None = None) -> frozenset[int]:
        """The processes of ours that are of these names, or of all."""
        return ending(self.sides(names))

    def stop(self, names: t.Iterable[str]) -> None:
        """Whatever somebody else runs goes on, without the model; its names stay, so that clients find it again."""
        for side in self.sides(names):
            with self._alone(side.place.name):
                if is_theirs(side):
                    side.release(side.settings.served_names)
                else:
                    side.place.supervisor.stop(side.place.service)

    def start(self, names: t.Iterable[str], patience: float) -> None:
        """Start them again and wait until each is ready; they were proven when they were activated.

        One that fails keeps no other from being tried; the first failure is raised then.
        """
        failures = []
        for side in self.sides(names):
            try:
                with self._alone(side.place.name):
                    _start(side, patience)
            except LlmError as failure:
                failures.append(failure.about(f"Runtime {side.place.name}"))
        if failures:
            raise failures[0]

    def sides(self, names: t.Iterable[str] | None = None) -> t.Iterator[Side]:
        """Those of these names, or all, that have ever served."""
        for name in runtime_names(self._layout) if names is None else names:
            generation = Generations(self._layout, name).active() if name != self._name else None
            if generation is not None:
                yield side_of(generation, self._layout)

    @contextlib.contextmanager
    def _alone(self, name: str) -> t.Iterator[None]:
        lock = Path(self._layout.run) / f"{name}.lock"
        with hold(lock, what=f"Runtime {name}", timeout=_LOCK_TIMEOUT, owner=Owner()):
            yield


def _start(side: Side, patience: float) -> None:
    started = time.time()
    side.place.supervisor.start(side.place.service)
    wait_healthy(side.place, side.engine, side.generation, started, patience)
    if side.engine.resident and side.settings.model_path:
        # It is up without it, and would load it while the first client waits.
        side.engine.load(side.endpoint, side.settings, loading_time(side.generation.model.size_bytes, patience))


def _is_up(side: Side) -> bool:
    if is_theirs(side):
        return is_loaded(side) is True
    return side.process.active or side.process.failing


def _is_shared(one: Generation, other: Generation) -> bool:
    if (one.engine, one.spec["port"]) != (other.engine, other.spec["port"]) or not one.model.path:
        return False
    if not collides(str(one.spec["host"]), str(other.spec["host"])):
        return False
    return one.model.path == other.model.path or one.model.revision == other.model.revision != ""
