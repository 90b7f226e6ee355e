# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until a runtime that was just started is ready, or say why it is not."""

from __future__ import annotations

from .._core.engine import READY, Engine, Health
from .._core.errors import LlmError
from .._core.generation import Generation
from .._core.supervisor import Process
from .._host.waiting import until
from .port_holder import holder_of
from .runtime_place import RuntimePlace, settings_of

# A model comes from the disk: seconds for a start grow by its size at this rate, in bytes a second.
_LOADING_RATE = 50_000_000
_LOG_LINES = 20


def loading_time(size_bytes: int, patience: float) -> float:
    """Seconds that the loading of a model may take."""
    return patience + size_bytes / _LOADING_RATE


def wait_healthy(
    place: RuntimePlace, engine: Engine, generation: Generation, started: float, patience: float, restarts: int = 0
) -> None:
    """Return when it is ready and its port is its own; raises what its log means, or `timeout` or `start_failed`.

    `started` is when (seconds since the epoch), `patience` what a start may take besides the loading (seconds),
    `restarts` how often it had come back already when this began: only one more is a failure.
    """
    settings = settings_of(generation)
    endpoint = place.endpoint(engine, settings)
    deadline = loading_time(generation.model.size_bytes, patience)

    def look() -> tuple[Process, Health]:
        return place.supervisor.process(place.name), engine.health(endpoint)

    def settled(seen: tuple[Process, Health]) -> bool:
        process, health = seen
        return not process.active or process.restarts > restarts or health.state == READY

    done, (process, health) = until(look, settled, deadline)
    if done and process.active and process.restarts <= restarts:
        stranger = holder_of(place.listens_on(engine, settings.host), settings.port, process)
        if stranger:
            raise LlmError("port_in_use", f"port {settings.port} is held by {stranger}.")
        return
    log = place.supervisor.log(place.name, started)
    last = log.strip().splitlines()[-_LOG_LINES:]
    if not done:
        raise LlmError("timeout", f"it was not ready after {deadline:.0f} s: {health.said or health.state}.", log=last)
    meaning = engine.meaning(log)
    if meaning:
        raise LlmError(meaning.reason, f"{meaning.sentence}.", log=last)
    said = last[-1] if last else "it said nothing"
    raise LlmError("start_failed", f"the engine ended ({process.detail or 'at once'}): {said}", log=last)
