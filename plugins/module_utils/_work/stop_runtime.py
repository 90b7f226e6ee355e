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
from .._core.generation import FAILED, NO_MODEL, TRYING
from .._core.outcome import Difference, Outcome
from .._engines.registry import engine_named
from .._host.journal import Journal
from .keep_bytes import keep_bytes, programs_of
from .loaded_model import goes_on, is_loaded
from .other_runtimes import OtherRuntimes
from .runtime_place import RuntimePlace, configuration_of
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
    """Models and engines stay. What a killed run left is part of it: a candidate that was never proven may run."""
    folder = Path(subject.layout.runtime_folder(subject.name))
    sides, notes = _sides(subject)
    # By any of these something of it may run, or start at boot.
    places = {place.supervisor.name: place for place in (*(side.place for side in sides), subject.place)}
    there = {path for place in places.values() for path in place.files.existing()}
    there |= {str(folder)} if folder.exists() else set()
    if there and not check_mode:
        notes += _leave(subject, sides, list(places.values()))
        notes += _bring_back_others(subject)
        for place in places.values():
            place.files.remove()
            place.supervisor.forget(subject.name)
        if folder.exists():
            shutil.rmtree(folder)
    shown = Difference(f"runtime {subject.name}", {"paths": sorted(there)}, {"paths": []})
    result = {"msg": "Removed" if there else "Absent already"}
    return Outcome(bool(there), result=_with(tuple(notes), result), differences=(shown,), warnings=tuple(notes))


def _sides(subject: Subject) -> tuple[list[Side], list[str]]:
    """What each record says that keeps and serves it, the newest first, and what is to be told of others."""
    sides, notes = [], []
    for generation in subject.place.generations.all():
        try:
            sides.append(side_of(generation, subject.layout))
        except LlmError as failure:
            notes.append(f"Runtime {subject.name}: generation {generation.number} was not looked after: {failure.what}")
    return sides, notes


def _leave(subject: Subject, sides: list[Side], places: list[RuntimePlace]) -> list[str]:
    """Have nothing of it run, and nothing of it in programs that go on; what could not be had is told."""
    serving = subject.active and engine_named(subject.active.engine).resident
    for place in places:
        if not serving or place.supervisor.name != subject.place.supervisor.name:
            # It may be in the way of a program that served before it.
            place.supervisor.stop(place.service)
    # What was gone back from was left then.
    kept = [side.generation for side in sides if side.generation.status != FAILED]
    loaded = [side for side in sides if side.generation.status == TRYING or side.generation == subject.active]
    notes = []
    for side in programs_of(kept, subject.layout):
        own = [each for each in loaded if not each.is_elsewhere(side)]
        notes += _give_back(side, own, float(subject.params["start_timeout"]))
    for place in places:
        place.supervisor.stop(place.service)
    return notes


def _bring_back_others(subject: Subject) -> list[str]:
    """Start what an activation that was killed had stopped for itself."""
    left = Journal(subject.layout, subject.name).pending()
    if left is None or not left.stopped:
        return []
    told = f"Runtime {subject.name}: its interrupted activation had stopped {', '.join(left.stopped)}"
    try:
        OtherRuntimes(subject.layout, subject.name).start(left.stopped, float(subject.params["start_timeout"]))
    except LlmError as failure:
        return [f"{told}, and not all serve again: {failure.what}"]
    return [f"{told}; started again."]


def _give_back(side: Side, loaded: list[Side], patience: float) -> list[str]:
    """Have a program that stays up forget the runtime; what there is to tell if it could not.

    `loaded` is what it may have in memory for it: two models after a switch that was killed.

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
    try:
        # First what older generations wanted, so that the last name of the bytes that serve is one of the served.
        keep_bytes(side, ())
        for each in loaded or [side]:
            each.release(())
    except LlmError as failure:
        return [f"{told}: {failure.what}"]
    finally:
        side.place.supervisor.stop(side.place.service)
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
