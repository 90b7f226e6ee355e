# SPDX-License-Identifier: GPL-3.0-or-later
"""Return to an earlier generation, by number or to the one before; nothing is downloaded."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from .._core.clock import written
from .._core.errors import LlmError
from .._core.generation import ACTIVE, TRYING, Generation
from .._core.outcome import Outcome
from .._core.runtime import complete
from .._engines.registry import engine_named
from .runtime_place import configuration_of, place_of
from .runtime_subject import Subject
from .start_runtime import bring
from .wanted_runtime import Wanted, check_served_names, secrets_of


def restore(subject: Subject, *, check_mode: bool) -> Outcome:
    """Numbers only grow: what is restored becomes a new generation, which says what it is a copy of."""
    serving = subject.serving()
    chosen = _chosen(subject, serving)
    place = place_of(chosen, subject.layout)
    if place.supervisor.name != subject.place.supervisor.name or place.supervisor.name == "external":
        subject = replace(subject, place=place)
    engine = engine_named(chosen.engine)
    spec = complete(subject.name, {}, chosen.spec, engine.default_port, resident=engine.resident)
    check_served_names(spec, engine, subject.layout, subject.store)
    _check_there(subject, chosen, engine.executable)
    secrets = secrets_of(engine, {}, subject.place)
    candidate = chosen
    files = configuration_of(chosen, subject.layout, secrets)
    if chosen is not serving or subject.place.files.read() != files:
        # Also for files that were changed by hand: the record of what serves is never tried out on itself.
        candidate = replace(
            chosen,
            number=subject.place.generations.next_number(),
            time=written(time.time()),
            status=TRYING,
            restores=chosen.number if chosen.restores is None else chosen.restores,
            proof={},
            reason="",
        )
    known = subject.store.manifest().models.values()
    record = next((record for record in known if record.folder and record.folder == chosen.model.folder), None)
    return bring(subject, Wanted(spec, candidate, files, record), engine, check_mode=check_mode)


def _chosen(subject: Subject, serving: Generation) -> Generation:
    """The generation to serve; the one that serves where it is that already."""
    asked = subject.params.get("generation")
    kept = [record for record in subject.place.generations.all() if record.status == ACTIVE]
    if asked is None:
        if serving.restores is not None:
            return serving
        earlier = [record for record in kept if record.fingerprint != serving.fingerprint]
        if not earlier:
            raise LlmError(
                "no_generation",
                f"Runtime {subject.name}: there is no generation before {serving.number}, which serves.",
            )
        return earlier[0]
    if asked in (serving.number, serving.restores):
        return serving
    found = next((record for record in kept if record.number == asked), None)
    if found is None:
        numbers = ", ".join(str(record.number) for record in kept) or "none"
        raise LlmError(
            "no_generation", f"Runtime {subject.name}: generation {asked} is not kept (there are: {numbers})."
        )
    return found


def _check_there(subject: Subject, chosen: Generation, executable: str) -> None:
    """Before anything is touched: the model's files and the engine of that time must still be on the host."""
    path = chosen.model.path
    if path.startswith("/") and not Path(path).exists():
        raise LlmError(
            "model_missing",
            f"Runtime {subject.name}: generation {chosen.number} serves {path}, which is gone.",
            remedy=f"Pull the model {chosen.model.name} again.",
        )
    folder = f"{subject.layout.engines}/{chosen.engine}/{chosen.engine_version}"
    if subject.place.supervisor.name != "external" and not os.access(f"{folder}/{executable}", os.X_OK):
        raise LlmError(
            "engine_missing",
            f"Runtime {subject.name}: generation {chosen.number} ran {folder}/{executable}, which is gone.",
        )
