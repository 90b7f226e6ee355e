# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's process table: who listens on a port, what a process and its children use."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

from .._core.errors import LlmError
from .._core.status import PortOwner

try:
    import psutil

    MISSING: str | None = None
except ImportError as cause:
    MISSING = str(cause)


_PROC = Path("/proc")
# States of a process that ended and waits for its parent to ask: nothing of it runs.
_DEAD = ("Z", "X", "x")
# Seconds by which two readings of a start may differ.
_TOLERANCE = 5.0


def _library() -> t.Any:
    if MISSING is not None:
        raise LlmError("library_missing", f"The Python library psutil is not there for {sys.executable}: {MISSING}.")
    return psutil


def family(pid: int) -> set[int]:
    """The process and all its descendants; empty when it is gone."""
    library = _library()
    try:
        process = library.Process(pid)
        return {pid} | {child.pid for child in process.children(recursive=True)}
    except library.Error:
        return set()


def memory_of(pid: int) -> int | None:
    """Resident bytes of a process and its descendants; None when it is gone."""
    library = _library()
    total = None
    for member in family(pid):
        try:
            total = (total or 0) + library.Process(member).memory_info().rss
        except library.Error:
            continue
    return total


def total_memory() -> int:
    return int(_library().virtual_memory().total)


def load() -> dict[str, float]:
    """How busy the host is: processor share in percent over a tenth of a second, memory in bytes."""
    library = _library()
    memory = library.virtual_memory()
    return {
        "cpu_percent": float(library.cpu_percent(interval=0.1)),
        "memory_total": float(memory.total),
        "memory_used": float(memory.total - memory.available),
    }


def listener(port: int, *, besides: int | None) -> PortOwner | None:
    """Who else listens on a TCP port: someone that is not `besides` nor a descendant of it."""
    library = _library()
    ours = family(besides) if besides else set()
    for connection in library.net_connections(kind="tcp"):
        if connection.status != library.CONN_LISTEN or connection.laddr.port != port:
            continue
        if connection.pid is None:
            # Without root the host does not tell whose it is; with a process of ours it is most likely that.
            if not ours:
                return PortOwner(None, None)
        elif connection.pid not in ours:
            return PortOwner(connection.pid, _command(library, connection.pid))
    return None


def _command(library: t.Any, pid: int) -> str | None:
    """The program's name: arguments can hold secrets."""
    try:
        return str(library.Process(pid).name())
    except library.Error:
        return None


def running_since(pid: int) -> str | float | None:
    """What tells a process from a later one of the same number; None when it is gone.

    The kernel's own count since this boot, because the time of the day at which a process began moves with the clock.
    Where there is no /proc, it is that time: the kernel has written it down once.
    """
    if not (_PROC / "self/stat").exists():
        return started_at(pid) if MISSING is None else None
    ticks = _ticks(pid)
    return None if ticks is None else f"{_boot()}:{ticks}"


def is_running(pid: int, since: str | float | None) -> bool:
    """Whether the very process is there; when no start was noted, any of its number."""
    now = running_since(pid) if pid > 0 else None
    if now is None or since is None or isinstance(since, str):
        return now is not None and since in (None, now)
    if not isinstance(now, str):
        return abs(now - since) < _TOLERANCE
    # An older version noted the time of the day, or without psutil the ticks alone.
    ticks = _ticks(pid)
    began = started_at(pid) if MISSING is None else None
    return ticks == since or (began is not None and abs(began - since) < _TOLERANCE)


def _ticks(pid: int) -> int | None:
    """Clock ticks from the boot to the process's start (proc_pid_stat(5), field 22); None for the gone and the dead."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
        state, *rest = text.rpartition(")")[2].split()
        return None if state in _DEAD else int(rest[18])
    except (OSError, ValueError, IndexError):
        return None


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def started_at(pid: int) -> float | None:
    library = _library()
    try:
        return float(library.Process(pid).create_time())
    except library.Error:
        return None
