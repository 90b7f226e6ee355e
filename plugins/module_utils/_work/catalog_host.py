# SPDX-License-Identifier: GPL-3.0-or-later
"""What only a host knows of itself for a catalogue: its memory, and the models it has. No hub is asked."""

from __future__ import annotations

import time
import typing as t
from functools import partial

from .._api.background import Background
from .._core.catalogue_answer import CatalogueHost, HostModel
from .._core.errors import LlmError
from .._core.gpu import Gpu, summed
from .._core.model import GB
from .._core.outcome import Outcome
from .._core.ports import SourceOptions
from .._core.seconds import seconds_of
from .._host import processes
from .._host.gpu import gpus
from .._host.ownership import Owner
from .._host.place import layout_here
from .._host.store import Store
from .._sources.registry import SOURCES, source_named

# Seconds that a program of the host has at most to say what it keeps, and how long one that drips is waited for.
_SECONDS, _GRACE = 5.0, 0.5
# A program that is not there keeps nothing.
_NOT_THERE = ("engine_missing", "path_missing", "unreachable")
_MEBIBYTE = 1024 * 1024


class CatalogHostTask:
    """The store's manifest, and the programs that keep models, side by side."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        layout = layout_here(params.get("prefix") or "")
        self._store = Store(params.get("store") or layout.store, Owner())
        self._endpoints: t.Mapping[str, t.Any] = params.get("endpoints") or {}
        self._told_memory = params.get("memory_gb") is not None
        self._seconds = min(_SECONDS, seconds_of(params["timeout"]))
        self._programs = [name for name, source in sorted(SOURCES.items()) if source.keeps_own_bytes]
        for name, address in self._endpoints.items():
            if name not in self._programs or not isinstance(address, str):
                raise LlmError(
                    "invalid_input",
                    f"The option endpoints has no address of a program that keeps models under '{name}'.",
                    remedy=f"Give texts by these names: {', '.join(self._programs)}.",
                )

    def run(self, *, check_mode: bool) -> Outcome:
        del check_mode
        until = time.monotonic() + self._seconds + _GRACE
        asked = {name: Background(partial(self._held, name)) for name in self._programs}
        cards = Background(partial(gpus, until))
        models = [
            HostModel(record.provider, record.model)
            for record in self._store.manifest().models.values()
            if record.model
        ]
        notes = []
        for name, job in asked.items():
            held, problem = self._heard(job, until)
            models += held
            notes += [f"What {name} has is not known: {problem}."] if problem else []
        # Whoever has been told a memory does not need the host's.
        memory, unknown = (None, ()) if self._told_memory else _memory_gb()
        host = CatalogueHost(memory, _gpu_memory_gb(cards, until), tuple(models), (*notes, *unknown))
        return Outcome(False, result={"host": host.as_dict()})

    def _held(self, name: str) -> list[HostModel]:
        options = SourceOptions(endpoint=self._endpoints.get(name) or "", timeout=self._seconds)
        return [
            HostModel(name, model.model, *(str(model.details.get(key) or "") for key in ("publisher", "format")))
            for model in source_named(name, options).inventory()
        ]

    def _heard(self, job: Background[list[HostModel]], until: float) -> tuple[list[HostModel], str]:
        """What a program has, and why that is not known; a program that is not there has nothing."""
        try:
            held = job.result(until, None)
        except LlmError as failure:
            return [], "" if failure.reason in _NOT_THERE else failure.what.rstrip(".")
        except Exception as failure:
            return [], f"something unexpected, {type(failure).__name__}"
        return ([], f"it did not answer within {self._seconds:g} seconds") if held is None else (held, "")


def _memory_gb() -> tuple[float | None, tuple[str, ...]]:
    try:
        return processes.total_memory() / GB, ()
    except LlmError as failure:
        return None, (f"The memory of the host is not known: {failure}",)


def _gpu_memory_gb(cards: Background[list[Gpu]], until: float) -> float | None:
    try:
        total = summed(cards.result(until, []))["vram_total_mb"]
    except Exception:
        # A tool whose words cannot be read tells nothing.
        return None
    return None if total is None else round(total * _MEBIBYTE / GB, 1)
