# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of a runtime, judged from what was seen of it."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, field

from .engine import DRAINING, LOADING, READY, REFUSED, SLEEPING, Health, Served, Settings
from .generation import Generation
from .journal import Transaction
from .proof import fault_in_facts
from .runtime import THRESHOLDS
from .supervisor import Process

# What a runtime does, beside whether all is well with it.
STOPPED, STARTING = "stopped", "starting"
# What an engine is asked, in words.
_QUESTIONS = {"health": "whether it is well", "served": "what it serves"}


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
class Stranger:
    """A process that is in a runtime's way: a `listener` on its port, an `orphan` or `zombie` that is left of it, or an
    `engine` of the host that no runtime of ours started. Secrets in its command are masked."""

    kind: str
    pid: int
    owner: str
    command: str
    engine: str | None
    memory_mb: int
    vram_mb: int | None
    unit: str | None


@dataclass(frozen=True)
class Observation:
    """All that was seen of one runtime, at one time (seconds since the epoch).

    `unanswered` is the question (`health`, `served`) that its engine did not answer within the time for it. `running` is
    the number of the generation whose values its process was started with, None where that cannot be seen; `left` is a
    transaction that was interrupted. `proven_at` is in seconds since the epoch.
    """

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
    vram_bytes: int | None = None
    vram_percent: float | None = None
    running: int | None = None
    left: Transaction | None = None
    proven_at: float | None = None
    strangers: tuple[Stranger, ...] = ()
    unanswered: str | None = None


@dataclass(frozen=True)
class Verdict:
    """`online`, `degraded` or `offline`, and why it is not online.

    `faults` are those of the reasons that starting it anew may mend; a host that is short of memory is not mended so.
    """

    status: str
    reasons: tuple[str, ...] = field(default_factory=tuple)
    faults: tuple[str, ...] = field(default_factory=tuple)


def judge(seen: Observation) -> Verdict:
    """`offline`: no process. `degraded`: a process, but not all of it holds. `online`: all of it."""
    stranger = f"port {seen.port} is held by {seen.port_owner}" if seen.port_owner else None
    left = _told_of(seen.left)
    orphans = [f"process {each.pid} is left of it and holds {_memory_of(each)}" for each in seen.strangers
               if each.kind == "orphan"]  # fmt: skip
    if not seen.process.active:
        said = f"the process keeps ending: {seen.process.detail}" if seen.process.failing else "no process runs"
        faults = tuple(reason for reason in (said, stranger, left, *orphans) if reason)
        return Verdict("offline", faults, faults)
    faults = tuple(reason for reason in (stranger, left, *orphans, *_faults(seen)) if reason)
    reasons = (*faults, *_warnings(seen))
    return Verdict("degraded" if reasons else "online", reasons, faults)


def _memory_of(stranger: Stranger) -> str:
    gpu = f" and {stranger.vram_mb} MB of GPU memory" if stranger.vram_mb else ""
    return f"{stranger.memory_mb} MB{gpu}"


def phase(seen: Observation) -> str:
    """What it does: `stopped`, `starting`, `loading`, `ready`, `sleeping`, `draining` or `broken`."""
    if not seen.process.active:
        return STARTING if seen.process.failing else STOPPED
    if _sleeps(seen):
        return SLEEPING
    if seen.process.ending:
        return DRAINING
    # An engine that refuses connections while its process lives has not come to listening yet.
    return LOADING if seen.health.state == REFUSED else seen.health.state


def _sleeps(seen: Observation) -> bool:
    """A program that stays up while models come and go sleeps when the model is not in memory."""
    if seen.health.state == SLEEPING:
        return True
    return seen.health.state == READY and seen.served is not None and seen.served.asleep


def _told_of(left: Transaction | None) -> str | None:
    if left is None or not left.touched:
        return None
    return f"an activation of generation {left.to_generation} was interrupted at step '{left.step}'"


def _faults(seen: Observation) -> t.Iterator[str]:
    if seen.process.failing:
        yield f"it is restarting: {seen.process.detail}"
    if _sleeps(seen):
        yield "it sleeps"
        # Meanwhile something else may answer under its names.
        yield from seen.served.faults if seen.served else ()
    elif seen.health.state in (LOADING, DRAINING):
        yield "the model is loading" if seen.health.state == LOADING else "it is draining"
    elif seen.health.state == REFUSED:
        yield f"nothing answers on its port {seen.port}"
    elif seen.health.state != READY and not seen.unanswered:
        yield f"the health check fails: {seen.health.said or seen.health.state}"
    elif seen.served and seen.settings:
        fault = fault_in_facts(seen.served, seen.settings)
        if fault:
            yield fault
        yield from seen.served.faults
    if seen.fault:
        yield seen.fault
    if seen.generation and seen.running is not None and seen.running != seen.generation.number:
        running = f"generation {seen.running}" if seen.running else "values of no generation"
        yield f"its process was started with {running}, and generation {seen.generation.number} is active"


def _warnings(seen: Observation) -> t.Iterator[str]:
    if seen.unanswered:
        # A busy one is slow too: it is not started anew for that.
        good = (
            f"proven {max(0, round(seen.now - seen.proven_at))} s ago" if seen.proven_at is not None else "never proven"
        )
        yield f"it did not tell in time {_QUESTIONS[seen.unanswered]}; it was {good}"
    given = (seen.generation.spec.get("thresholds") if seen.generation else None) or {}
    limits = {**THRESHOLDS, **given}
    for what, share, limit in (
        ("memory", seen.memory_percent, limits["memory_percent"]),
        ("VRAM", seen.vram_percent, limits["vram_percent"]),
    ):
        if share is not None and share > limit:
            yield f"{what} is at {share:.0f} %, above {limit:.0f} %"
    if seen.process.restarts > limits["restarts"]:
        yield f"it was restarted {seen.process.restarts} times, above {limits['restarts']:.0f}"
    hours = (seen.now - seen.proven_at) / 3600 if seen.proven_at is not None else None
    if limits["proof_age_hours"] and hours is not None and hours > limits["proof_age_hours"]:
        yield f"its last proof is {hours:.0f} hours old, above {limits['proof_age_hours']:g}"


def record(name: str, seen: Observation, verdict: Verdict) -> dict[str, t.Any]:
    """The status record that users were promised; what is unknown is None."""
    generation = seen.generation
    process = seen.process
    uptime = seen.now - process.started_at if process.active and process.started_at else None
    host = seen.settings.host if seen.settings else None
    model = generation.model.name or None if generation else None
    return {
        "name": name,
        "engine": generation.engine if generation else None,
        "status": verdict.status,
        "phase": phase(seen),
        "reasons": list(verdict.reasons),
        "model": model,
        "served_names": list(generation.served_names) if generation else [],
        "context_length": seen.served.context_length if seen.served else None,
        "pid": process.pid if process.active else None,
        "memory_mb": round(seen.memory_bytes / 1e6) if seen.memory_bytes is not None else None,
        "vram_mb": round(seen.vram_bytes / 1e6) if seen.vram_bytes is not None else None,
        "uptime_seconds": max(0, round(uptime)) if uptime is not None else None,
        "restarts": process.restarts,
        "port": seen.port,
        "address": f"http://{host}:{seen.port}" if host else None,
        "supervisor": seen.supervisor,
        "unit": seen.unit,
        "generation": generation.number if generation else None,
        "last_model": model,
        "proof": _proof(seen),
        "port_owner": {"pid": seen.port_owner.pid, "command": seen.port_owner.command} if seen.port_owner else None,
        "strangers": [asdict(stranger) for stranger in seen.strangers],
        "unanswered": seen.unanswered,
        "interrupted": seen.left.as_dict() if seen.left else None,
    }


def _proof(seen: Observation) -> dict[str, t.Any] | None:
    if not seen.generation or not seen.generation.proof:
        return None
    age = max(0, round(seen.now - seen.proven_at)) if seen.proven_at is not None else None
    return {**seen.generation.proof, "age_seconds": age}
