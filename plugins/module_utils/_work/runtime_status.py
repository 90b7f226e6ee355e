# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of all runtimes of a host, looked at side by side."""

from __future__ import annotations

import typing as t
from concurrent.futures import ThreadPoolExecutor

from .._core.generation import Generation
from .._core.outcome import Outcome
from .._core.status import judge, record
from .._engines.registry import engine_named
from .._host.generations import Generations, runtime_names
from .._host.gpu_look import GpuLook, look_at_gpus
from .._host.place import layout_here
from .ask_engine import PATIENCE
from .runtime_place import RuntimePlace, place_of, settings_of


class RuntimeStatusTask:
    """Looks, and changes nothing. A runtime that never was activated is told as offline."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._layout = layout_here(params.get("prefix") or "")
        self._names = params.get("names")

    def run(self, *, check_mode: bool) -> Outcome:
        del check_mode
        there = runtime_names(self._layout)
        names = there if self._names is None else [name for name in self._names if name in there]
        gpus = look_at_gpus()
        with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
            records = list(pool.map(lambda name: self._status(name, gpus), names))
        missing = [name for name in self._names or () if name not in there]
        return Outcome(
            False, result={"names": there, "runtimes": [found for found in records if found], "missing": missing}
        )

    def _status(self, name: str, gpus: GpuLook) -> dict[str, t.Any] | None:
        generation = Generations(self._layout, name).active()
        if generation is None:
            return None
        engine = engine_named(generation.engine)
        place = place_of(generation, self._layout)
        port = int(generation.spec["port"])
        seen = place.observe(generation, engine, settings_of(generation), port, gpus, PATIENCE)
        return {**record(name, seen, judge(seen)), "generations": _kept(place, generation)}


def _kept(place: RuntimePlace, serving: Generation) -> list[dict[str, t.Any]]:
    """The generations that a rollback may return to and those that failed since, newest first."""
    return [
        {
            "number": record.number,
            "time": record.time,
            "status": record.status,
            "serving": record.number == serving.number,
            "model": record.model.name or None,
            "revision": record.model.revision,
            "engine_version": record.engine_version,
            "restores": record.restores,
            "reason": record.reason or None,
        }
        for record in place.generations.all()
    ]
