# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of a runtime, judged from what was seen of it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .engine import Health, Served, Settings
from .generation import Generation
from .proof import fault_in_facts
from .supervisor import Process

# Share of the host's memory above which a runtime is degraded, in percent.
MEMORY_THRESHOLD = 85.0


@dataclass(frozen=True)
class PortOwner:
    """Who listens on a port: pid and command are None where the host does not tell without root."""

    pid: int | None
    command: str | None

    def __str__(self) -> str:
        if self.pid is None:
            return "a process of another account"
        return f"process {self.pid} ({self.command})" if self.command else f"process {self.pid}"


@dataclass(frozen=True)
class Observation:
    """All that was seen of one runtime, at one time (seconds since the epoch)."""

    generation: Generation | None
    process: Process
    health: Health
    served: Served | None
    settings: Settings | None
    memory_bytes: int | None
    memory_percent: float | None
    port: int
    port_owner: PortOwner | None
    supervisor: str
    unit: str | None
    now: float
    fault: str | None = None


@dataclass(frozen=True)
class Verdict:
    """`online`, `degraded` or `offline`, and why it is not online."""

    status: str
    reasons: tuple[str, ...] = field(default_factory=tuple)


def judge(seen: Observation) -> Verdict:
    """`offline`: no process. `degraded`: a process, but not all of it holds. `online`: all of it."""
    stranger = f"port {seen.port} is held by {seen.port_owner}" if seen.port_owner else None
    if not seen.process.active:
        reasons = (
            ["no process runs"] if not seen.process.failing else [f"the process keeps ending: {seen.process.detail}"]
        )
        return Verdict("offline", tuple(reasons + ([stranger] if stranger else [])))
    reasons = [stranger] if stranger else []
    if seen.process.failing:
        reasons.append(f"it is restarting: {seen.process.detail}")
    if seen.health.state == "loading":
        reasons.append("the model is loading")
    elif seen.health.state != "ready":
        reasons.append(f"the health check fails: {seen.health.said or seen.health.state}")
    elif seen.served and seen.settings:
        fault = fault_in_facts(seen.served, seen.settings)
        if fault:
            reasons.append(fault)
    if seen.fault:
        reasons.append(seen.fault)
    if seen.memory_percent is not None and seen.memory_percent > MEMORY_THRESHOLD:
        reasons.append(f"memory is at {seen.memory_percent:.0f} %, above {MEMORY_THRESHOLD:.0f} %")
    return Verdict("degraded" if reasons else "online", tuple(reasons))


def record(name: str, seen: Observation, verdict: Verdict) -> dict[str, t.Any]:
    """The status record that users were promised; what is unknown is None."""
    generation = seen.generation
    process = seen.process
    uptime = seen.now - process.started_at if process.active and process.started_at else None
    host = seen.settings.host if seen.settings else None
    return {
        "name": name,
        "engine": generation.engine if generation else None,
        "status": verdict.status,
        "reasons": list(verdict.reasons),
        "model": generation.model.name if generation else None,
        "served_names": list(generation.served_names) if generation else [],
        "context_length": seen.served.context_length if seen.served else None,
        "pid": process.pid if process.active else None,
        "memory_mb": round(seen.memory_bytes / 1e6) if seen.memory_bytes is not None else None,
        "vram_mb": None,
        "uptime_seconds": max(0, round(uptime)) if uptime is not None else None,
        "restarts": process.restarts,
        "port": seen.port,
        "address": f"http://{host}:{seen.port}" if host else None,
        "supervisor": seen.supervisor,
        "unit": seen.unit,
        "generation": generation.number if generation else None,
        "last_model": generation.model.name if generation else None,
        "proof": dict(generation.proof) if generation and generation.proof else None,
        "port_owner": {"pid": seen.port_owner.pid, "command": seen.port_owner.command} if seen.port_owner else None,
    }
