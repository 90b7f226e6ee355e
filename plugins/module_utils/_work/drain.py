# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait, for a bounded time, until nothing is in flight in a runtime that is to be stopped."""

from __future__ import annotations

from .._core.engine import Endpoint, Engine
from .._core.errors import LlmError
from .._core.runtime import RuntimeSpec
from .._host import connections
from .._host.waiting import until
from .runtime_place import RuntimePlace


def drain(place: RuntimePlace, engine: Engine, endpoint: Endpoint, spec: RuntimeSpec) -> str | None:
    """Returns what there is to tell when the wait ended and requests were left.

    The engine's own count is asked for; where it has none, established connections count. Nothing keeps new requests
    from coming: it is the moment between two of them that is waited for. Raises `drain_timeout` where `spec` says so.
    """
    process = place.supervisor.process(place.name)
    if not process.active or spec.drain_timeout <= 0:
        return None

    def look() -> int:
        count = engine.in_flight(endpoint)
        # Where nobody can count, there is nothing to wait for.
        return (connections.established(endpoint.port, process.members) or 0) if count is None else count

    done, left = until(look, lambda count: count == 0, spec.drain_timeout)
    if done:
        return None
    told = f"Runtime {place.name}: {left} requests were in flight after {spec.drain_timeout:g} s"
    if spec.on_drain_timeout == "fail":
        raise LlmError("drain_timeout", f"{told}; nothing was changed.", in_flight=left)
    return f"{told}, and were cut off."
