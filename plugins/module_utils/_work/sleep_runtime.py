# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a runtime give its memory back and stay, and see that it did."""

from __future__ import annotations

from .._core.engine import SLEEPING
from .._core.errors import LlmError
from .._core.outcome import Difference, Outcome
from .._core.status import Observation, judge, phase, record
from .._engines.registry import engine_named
from .._host.waiting import until
from .runtime_place import settings_of
from .runtime_subject import Subject

# Below this a model's memory cannot be told from what a program uses anyhow; bytes.
_TELLING = 256 * 1024 * 1024
# Weights that left are at least this share of the model's size less.
_FREED = 0.5


def sleep(subject: Subject, *, check_mode: bool) -> Outcome:
    """Raises `unsupported` where the engine cannot, `proof_failed` where it says so and keeps its memory."""
    generation = subject.serving()
    engine = engine_named(generation.engine)
    settings = settings_of(generation)
    level = int(subject.params["sleep_level"])
    if level not in engine.sleep_levels:
        levels = ", ".join(str(one) for one in engine.sleep_levels)
        raise LlmError(
            "unsupported",
            f"Runtime {subject.name}: the engine {engine.name} has "
            + (f"the sleep levels {levels}, not {level}." if levels else "no sleep."),
            remedy=f"Set sleep_level to one of {levels}." if levels else "Use state: stopped.",
        )
    engine.check_sleep(settings)

    def look() -> Observation:
        return subject.place.observe(generation, engine, settings, settings.port)

    seen = look()
    if not seen.process.active:
        raise LlmError("runtime_missing", f"Runtime {subject.name} does not run.", remedy="Use state: started first.")
    asleep = phase(seen) == SLEEPING
    shown = Difference(f"runtime {subject.name}", {"phase": phase(seen)}, {"phase": SLEEPING})
    if asleep or check_mode:
        words = "Sleeps already" if asleep else "Would sleep"
        return Outcome(not asleep, result={"msg": words}, differences=() if asleep else (shown,))
    before = seen
    engine.sleep(subject.place.endpoint(engine, settings), settings, level)
    idle = float(settings.options.get("sleep_idle_seconds") or 0)
    patience = idle + float(subject.params["start_timeout"])
    done, seen = until(look, lambda one: phase(one) == SLEEPING and _has_freed(before, one), patience)
    if not done:
        kept = phase(seen) == SLEEPING
        raise LlmError(
            "proof_failed" if kept else "timeout",
            f"Runtime {subject.name}: "
            + (
                f"it says that it sleeps and still holds {(seen.memory_bytes or 0) / 1e9:.1f} GB."
                if kept
                else f"it did not sleep after {patience:.0f} s."
            ),
            remedy="Use state: stopped.",
            changed=True,
        )
    result = {"msg": "Sleeps", "runtime": record(subject.name, seen, judge(seen)), "generation": generation.number}
    return Outcome(True, result=result, differences=(shown,))


def _has_freed(before: Observation, after: Observation) -> bool:
    """Whether the weights have left its memory; a model too small to tell passes."""
    size = before.generation.model.size_bytes if before.generation else 0
    # What it holds may not be seen, as behind a container's proxy, and what moves from a GPU to RAM stays held.
    if size < _TELLING or _held(before) < _FREED * size or (before.vram_bytes is None and after.vram_bytes is not None):
        return True
    if before.vram_bytes and after.vram_bytes is not None and before.vram_bytes >= _FREED * size:
        return before.vram_bytes - after.vram_bytes >= _FREED * size
    return _held(before) - _held(after) >= _FREED * size


def _held(seen: Observation) -> int:
    return (seen.memory_bytes or 0) + (seen.vram_bytes or 0)
