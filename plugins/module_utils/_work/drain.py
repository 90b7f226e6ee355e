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

    The engine's own count is asked for, to which a connection that is kept open and idle is nothing; where it has none,
    established connections count. Nothing keeps new requests from coming: it is the moment between two of them that is
    waited for. Raises `drain_timeout` where `spec` says so.
    """
    process = place.supervisor.process(place.name)
    if not process.active or spec.drain_timeout <= 0:
        return None

    def look() -> int | None:
        count = engine.in_flight(endpoint)
        if count is None:
            # Where none of its processes is ours to see, as those of a container, whoever is connected counts.
            count = connections.established(endpoint.port, process.members or None, endpoint.host)
        return count

    done, left = until(look, lambda count: not count, spec.drain_timeout)
    if left is None:
        return f"Runtime {place.name}: neither it nor the host tells whether requests were in flight; it was not waited for."
    if done:
        return None
    told = f"Runtime {place.name}: {left} requests were in flight after {spec.drain_timeout:g} s"
    if spec.on_drain_timeout == "fail":
        raise LlmError("drain_timeout", f"{told}; nothing was changed.", in_flight=left)
    return f"{told}, and were cut off."
