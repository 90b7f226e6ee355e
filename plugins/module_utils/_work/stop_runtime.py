# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop a runtime, also for the next boot; or remove it with all that is written down of it."""

from __future__ import annotations

import shutil
import time
import typing as t
from dataclasses import replace
from pathlib import Path

from .._core.engine import READY
from .._core.errors import LlmError
from .._core.generation import NO_MODEL
from .._core.outcome import Difference, Outcome
from .._engines.registry import engine_named
from .keep_bytes import keep_bytes, programs_of
from .loaded_model import goes_on, is_loaded
from .runtime_place import configuration_of
from .runtime_subject import Subject
from .side import Side, side_of
from .wait_healthy import wait_healthy


def stop(subject: Subject, *, check_mode: bool) -> Outcome:
    """Configuration, generations and models stay, and so do the names that a program of ours has for them."""
    place = subject.place
    process = place.supervisor.process(subject.name)
    running = process.active or process.failing or bool(process.members) or place.supervisor.enabled(subject.name)
    side = side_of(subject.active, subject.layout) if subject.active else None
    notes: tuple[str, ...] = ()
    if place.supervisor.name == "external":
        # Whoever runs it goes on; what is ours of it is the model in memory.
        loaded = is_loaded(side) if side else False
        running = bool(loaded)
        notes = (goes_on(side),) if side and loaded is None else ()
    if running and not check_mode:
        if side and place.supervisor.name == "external":
            side.release(side.settings.served_names)
        place.supervisor.stop(place.service)
    state = "started" if running or notes else "stopped"
    shown = Difference(f"runtime {subject.name}", {"state": state}, {"state": "started" if notes else "stopped"})
    result = {"msg": "Goes on" if notes else "Stopped" if running else "Stopped already"}
    return Outcome(running, result=_with(notes, result), differences=(shown,), warnings=notes)


def remove(subject: Subject, *, check_mode: bool) -> Outcome:
    """Models and engines stay."""
    place = subject.place
    folder = Path(subject.layout.runtime_folder(subject.name))
    there = place.files.existing() + ([str(folder)] if folder.exists() else [])
    notes: list[str] = []
    if there and not check_mode:
        if not subject.active or not engine_named(subject.active.engine).resident:
            # It may be in the way of a program that served before it.
            place.supervisor.stop(place.service)
        for side in programs_of(place.generations.all(), subject.layout):
            notes += _give_back(side, float(subject.params["start_timeout"]))
        place.supervisor.stop(place.service)
        place.files.remove()
        place.supervisor.forget(subject.name)
        if folder.exists():
            shutil.rmtree(folder)
    shown = Difference(f"runtime {subject.name}", {"paths": sorted(set(there))}, {"paths": []})
    result = {"msg": "Removed" if there else "Absent already"}
    return Outcome(bool(there), result=_with(tuple(notes), result), differences=(shown,), warnings=tuple(notes))


def _give_back(side: Side, patience: float) -> list[str]:
    """Have a program that stays up forget the runtime; what there is to tell if it could not.

    Only the program itself takes a name away and leaves the bytes, or takes both where nothing else wants them. One of
    ours that is down is therefore started for that moment: its names must stay when it is stopped, for a rollback
    needs them, and its folder is written in a form that is its own.
    """
    ours = side.place.supervisor.name != "external"
    told = f"Runtime {side.place.name}: {side.engine.name} may still have the names {', '.join(side.settings.served_names)}"
    if side.engine.health(side.endpoint).state != READY:
        if not ours:
            return [f"{told}; it does not answer."]
        try:
            _start(side, patience)
        except LlmError as failure:
            side.place.supervisor.stop(side.place.service)
            return [f"{told}: {failure.what}"]
    # First what older generations wanted, so that the last name of the bytes that serve is one of the served.
    keep_bytes(side, ())
    side.leave()
    return []


def _start(side: Side, patience: float) -> None:
    place = side.place
    place.files.write(configuration_of(side.generation, place.layout, place.files.read().secrets))
    place.supervisor.reload()
    started = time.time()
    place.supervisor.start(place.service)
    # It is up without a model.
    wait_healthy(place, side.engine, replace(side.generation, model=NO_MODEL), started, patience)


def _with(notes: tuple[str, ...], result: dict[str, t.Any]) -> dict[str, t.Any]:
    return {**result, "notes": list(notes)} if notes else result
