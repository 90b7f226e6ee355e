# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop a runtime, also for the next boot; or remove it with all that is written down of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from .._core.engine import READY, SLEEPING
from .._core.errors import LlmError
from .._core.outcome import Difference, Outcome
from .._core.status import STOPPED, phase
from .._engines.registry import engine_named
from .runtime_place import settings_of
from .runtime_subject import Subject


def stop(subject: Subject, *, check_mode: bool) -> Outcome:
    """Configuration, generations and models stay."""
    place = subject.place
    process = place.supervisor.process(subject.name)
    running = process.active or process.failing or bool(process.members) or place.supervisor.enabled(subject.name)
    if place.supervisor.name == "external":
        # Whoever runs it goes on; what is ours of it is the model in memory.
        running = _is_loaded(subject)
    if running and not check_mode:
        _release(subject, forget_names=False)
        place.supervisor.stop(place.service)
    state = "started" if running else "stopped"
    shown = Difference(f"runtime {subject.name}", {"state": state}, {"state": "stopped"})
    return Outcome(running, result={"msg": "Stopped" if running else "Stopped already"}, differences=(shown,))


def remove(subject: Subject, *, check_mode: bool) -> Outcome:
    """Models and engines stay."""
    place = subject.place
    folder = Path(subject.layout.runtime_folder(subject.name))
    there = place.files.existing() + ([str(folder)] if folder.exists() else [])
    if there and not check_mode:
        _release(subject, forget_names=True)
        place.supervisor.stop(place.service)
        place.files.remove()
        place.supervisor.forget(subject.name)
        if folder.exists():
            shutil.rmtree(folder)
    shown = Difference(f"runtime {subject.name}", {"paths": sorted(set(there))}, {"paths": []})
    return Outcome(bool(there), result={"msg": "Removed" if there else "Absent already"}, differences=(shown,))


def _is_loaded(subject: Subject) -> bool:
    active = subject.active
    if active is None or not active.model.name:
        return False
    engine, settings = engine_named(active.engine), settings_of(active)
    seen = subject.place.observe(active, engine, settings, settings.port)
    return phase(seen) not in (SLEEPING, STOPPED)


def _release(subject: Subject, *, forget_names: bool) -> None:
    """A program that is not ours stays up: what it has in memory for this runtime goes, and its names if wished."""
    active = subject.active
    if active is None or not active.model.name:
        return
    engine = engine_named(active.engine)
    settings = settings_of(active)
    # A program of ours is ended anyway; only the names that it keeps on the disk would stay.
    if not engine.resident or not (subject.place.supervisor.name == "external" or forget_names):
        return
    endpoint = subject.place.endpoint(engine, settings)
    if engine.health(endpoint).state != READY:
        return
    try:
        engine.release(endpoint, settings, () if forget_names else settings.served_names)
    except LlmError:
        # What a program of ours will not let go of goes with its process, which is ended next.
        if subject.place.supervisor.name == "external":
            raise
