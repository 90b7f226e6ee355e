# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine of a runtime says of itself, asked with the patience of each question or within seconds in all."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .._api.background import Background
from .._core.engine import BROKEN, READY, REFUSED, Endpoint, Engine, Health, Served, Settings
from .._core.errors import LlmError

# Seconds for all questions to one engine where many are looked at.
PATIENCE = 3.0
# The questions, as a status names those that were not answered.
HEALTH, SERVED = "health", "served"
_NOBODY = Health(REFUSED)


@dataclass(frozen=True)
class Said:
    """Its answers; `fault` is why there is none to what it serves, `unanswered` the question that it was too slow for."""

    health: Health = _NOBODY
    served: Served | None = None
    fault: str | None = None
    unanswered: str | None = None


def ask(engine: Engine, endpoint: Endpoint, settings: Settings, *, settled: bool, seconds: float | None = None) -> Said:
    """`settled`: it has been up. One slow answer is no fault then: who looks again and again must not see it blink."""
    if seconds is not None:
        return _ask_within(engine, endpoint, settings, settled, seconds)
    health = engine.health(endpoint)
    if settled and health.state in (REFUSED, BROKEN):
        health = engine.health(endpoint)
    return _served(engine, endpoint, settings) if health.state == READY else Said(health)


def _ask_within(engine: Engine, endpoint: Endpoint, settings: Settings, settled: bool, seconds: float) -> Said:
    begun = time.monotonic()
    first = Background(lambda: engine.health(endpoint))
    health = first.result(begun + seconds / 3, None)
    if health is None or (settled and health.state in (REFUSED, BROKEN)):
        again = Background(lambda: engine.health(endpoint)).result(begun + 2 * seconds / 3, None)
        # The first answer may have come while the second was waited for.
        health = again or first.result(begun, None)
    if health is None:
        return Said(Health(BROKEN), unanswered=HEALTH)
    if health.state != READY:
        return Said(health)
    asked = Background(lambda: _served(engine, endpoint, settings))
    return asked.result(begun + seconds, Said(health, unanswered=SERVED))


def _served(engine: Engine, endpoint: Endpoint, settings: Settings) -> Said:
    try:
        return Said(Health(READY), engine.served(endpoint, settings))
    except LlmError as failure:
        return Said(Health(READY), fault=failure.what)
