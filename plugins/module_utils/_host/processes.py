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


def running_since(pid: int) -> float | None:
    """When a process started, to tell it from a later one of the same number; None when it is gone."""
    if MISSING is None:
        return started_at(pid)
    try:
        # Without the library: the kernel's own count, in ticks since the boot (proc_pid_stat(5), field 22).
        return float(
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
        )
    except (OSError, ValueError, IndexError):
        return None


def is_running(pid: int, since: float | None) -> bool:
    """Whether the very process is there; when no start was noted, any of its number."""
    now = running_since(pid)
    return now is not None and since in (None, now)


def started_at(pid: int) -> float | None:
    library = _library()
    try:
        return float(library.Process(pid).create_time())
    except library.Error:
        return None
