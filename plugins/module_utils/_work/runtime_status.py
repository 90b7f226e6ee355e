# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of all runtimes of a host, looked at side by side."""

from __future__ import annotations

import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

from .._core.engine import REFUSED, Health
from .._core.errors import LlmError
from .._core.generation import ACTIVE, FAILED, Generation
from .._core.journal import Transaction
from .._core.outcome import Outcome
from .._core.status import Observation, Verdict, judge, record
from .._core.supervisor import Process
from .._engines.registry import engine_named
from .._host.generations import Generations, runtime_names
from .._host.gpu_look import GpuLook, look_at_gpus
from .._host.journal import Journal
from .._host.place import layout_here
from .ask_engine import PATIENCE
from .runtime_place import place_of, settings_of


class RuntimeStatusTask:
    """Looks, and changes nothing. One that never served is told too: by its newest record, and what was interrupted."""

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
        known: list[Generation] = []
        active = newest = left = None
        try:
            known = Generations(self._layout, name).all()
            active = next((each for each in known if each.status == ACTIVE), None)
            newest = active or next(iter(known), None)
            left = Journal(self._layout, name).pending()
            if newest is None and left is None:
                return None
            if newest is None or newest.status == FAILED:
                # Nothing is left of it.
                told = _unseen(name, newest, left)
            else:
                told = self._look(name, newest, gpus)
        except Exception as failure:
            # Whatever is wrong with one of them, the others are told.
            told = _unseen(name, newest, left, failure)
        # Only one that was proven is the generation of a runtime.
        return {**told, "generation": active.number if active else None, "generations": _kept(known, active)}

    def _look(self, name: str, generation: Generation, gpus: GpuLook) -> dict[str, t.Any]:
        place = place_of(generation, self._layout)
        port = int(generation.spec["port"])
        engine = engine_named(generation.engine)
        seen = place.observe(generation, engine, settings_of(generation), port, gpus, PATIENCE)
        return record(name, seen, judge(seen))


def _unseen(
    name: str, known: Generation | None, left: Transaction | None, failure: Exception | None = None
) -> dict[str, t.Any]:
    """The record of one that nothing runs of, or that could not be looked at; what is unknown is None."""
    seen = Observation(
        generation=known, process=Process(), health=Health(REFUSED), served=None, settings=None, memory_bytes=None,
        memory_percent=None, port=0, port_owner=None, supervisor="", unit=None, now=time.time(), left=left,
    )  # fmt: skip
    if failure is None:
        return {**record(name, seen, judge(seen)), "port": None, "supervisor": None}
    what = failure.what if isinstance(failure, LlmError) else f"{type(failure).__name__}: {failure}"
    verdict = Verdict("degraded", (f"it could not be looked at: {' '.join(what.split())}",))
    unknown = dict.fromkeys(("phase", "restarts", "port", "supervisor"))
    return {**record(name, seen, verdict), **unknown}


def _kept(known: list[Generation], serving: Generation | None) -> list[dict[str, t.Any]]:
    """The generations that a rollback may return to and those that failed since, newest first."""
    return [
        {
            "number": record.number,
            "time": record.time,
            "status": record.status,
            "serving": serving is not None and record.number == serving.number,
            "model": record.model.name or None,
            "revision": record.model.revision,
            "engine_version": record.engine_version,
            "restores": record.restores,
            "reason": record.reason or None,
        }
        for record in known
    ]
