# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's process table: who listens on a port, what the processes of a runtime use."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import typing as t
from pathlib import Path

from .._core.collision import collides, concrete
from .._core.errors import LlmError
from .._core.status import PortOwner
from . import gpu, keeper
from .connections import held, listening

try:
    import psutil

    MISSING: str | None = None
except ImportError as cause:
    MISSING = str(cause)

# Pages that several processes map count once when they are worth the question, and while it takes no longer.
_WORTH_SHARING = 64_000_000
_SHARING_SECONDS = 0.2
_PAGE = os.sysconf("SC_PAGE_SIZE")
# A port of this very host answers at once, or not at all.
_CONNECT_SECONDS = 0.5


_PROC = Path("/proc")
# Seconds by which two readings of a start may differ.
_TOLERANCE = 5.0


def _library() -> t.Any:
    if MISSING is not None:
        raise LlmError("library_missing", f"The Python library psutil is not there for {sys.executable}: {MISSING}.")
    return psutil


def family(pid: int) -> set[int]:
    """The process and all its descendants; empty when it is gone."""
    return families((pid,))


def families(pids: t.Collection[int]) -> set[int]:
    """The processes and all their descendants, without those that are gone."""
    entries = keeper.table() if pids else {}
    if entries:
        return keeper.with_descendants(pids, entries)
    library = _library()
    found: set[int] = set()
    for pid in pids:
        with contextlib.suppress(library.Error):
            process = library.Process(pid)
            found |= {pid} | {child.pid for child in process.children(recursive=True)}
    return found


def _members(given: int | t.Collection[int] | None) -> t.Collection[int]:
    if given is None:
        return ()
    return family(given) if isinstance(given, int) else given


def memory_of(members: int | t.Collection[int]) -> int | None:
    """Bytes that processes keep in memory together; None when none is there. A number stands for its family.

    Resident bytes (RSS) are read at once, but count a page that is shared once for each process: workers that map
    the same libraries or weights would count them over and over. Where two or more have much to share they are asked
    for their proportional share (PSS), for which the kernel walks their pages, and only within a time limit.
    """
    resident: dict[int, int] = {}
    sharing: list[int] = []
    for pid in _members(members):
        pages = keeper.read_proc(pid, "statm").split()
        if len(pages) >= 3 and int(pages[1]):
            resident[pid] = int(pages[1]) * _PAGE
            if int(pages[2]) * _PAGE > _WORTH_SHARING:
                sharing.append(pid)
        elif not pages and not os.path.isdir("/proc/self"):
            known = _resident_elsewhere(pid)
            if known is not None:
                resident[pid] = known
    deadline = time.monotonic() + _SHARING_SECONDS
    for pid in sharing if len(sharing) > 1 else ():
        if time.monotonic() > deadline:
            break
        share = _proportional(pid)
        if share is not None:
            resident[pid] = share
    return sum(resident.values()) if resident else None


def resident(pid: int) -> int:
    """Resident bytes of one process; 0 when it is gone.

    A process whose first thread has ended is a zombie that keeps its memory for the others: they tell of it.
    """
    threads: list[str] = []
    with contextlib.suppress(OSError):
        threads = os.listdir(f"/proc/{pid}/task")
    for name in ("statm", *(f"task/{thread}/statm" for thread in threads)):
        pages = keeper.read_proc(pid, name).split()
        if len(pages) > 1 and int(pages[1]):
            return int(pages[1]) * _PAGE
    return 0


def _proportional(pid: int) -> int | None:
    for line in keeper.read_proc(pid, "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return None


def _resident_elsewhere(pid: int) -> int | None:
    """On hosts without /proc."""
    library = _library()
    try:
        return int(library.Process(pid).memory_info().rss)
    except library.Error:
        return None


def total_memory() -> int:
    return int(_library().virtual_memory().total)


def load() -> dict[str, float]:
    """How busy the host is: processor share in percent over a tenth of a second, memory in bytes."""
    total, available = memory()
    return {
        "cpu_percent": float(_library().cpu_percent(interval=0.1)),
        "memory_total": float(total),
        "memory_used": float(total - available),
    }


def memory() -> tuple[int, int]:
    """The host's memory, all of it and what is available; bytes."""
    seen = _library().virtual_memory()
    return int(seen.total), int(seen.available)


def listener(port: int, *, besides: int | t.Collection[int] | None, host: str = "") -> PortOwner | None:
    """Who else has a TCP port that a runtime on `host` is to have: someone that is not one of the processes `besides`.

    A number stands for its family. Without `host` the port is looked for on every address.
    """
    for pid in holders(port, ours=_members(besides), host=host):
        return PortOwner(pid, command_of(pid) if pid is not None else None)
    return None


def holders(
    port: int, *, ours: t.Collection[int] = (), pids: t.Collection[int] | None = None, host: str = ""
) -> list[int | None]:
    """The processes that listen on a TCP port, in the way of a runtime on `host`, and are none of `ours`.

    None stands for one that the host does not tell. `pids` are those of the host, if they have been looked up already.
    """
    sockets = listening(port, host)
    if sockets is None:
        return _holders_elsewhere(port, ours, host)
    # Mostly it is ourselves, and nobody else has to be looked at.
    own = held(ours, sockets)
    strange = sockets - set(own.by)
    if not strange:
        return []
    # Later ones inherit a socket from earlier ones: the lowest number is most likely the one that opened it.
    others = held(sorted((keeper.pids() if pids is None else set(pids)) - set(ours)), strange)
    found: list[int | None] = [*sorted(set(others.by.values()))]
    hidden = len(strange) > len(others.by)
    # One that cannot be told from what of ours cannot be read is most likely ours.
    return [*found, None] if hidden and (own.complete or not ours) else found


def _holders_elsewhere(port: int, ours: t.Collection[int], host: str) -> list[int | None]:
    """On hosts without /proc: by the library, or by knocking where it may not tell."""
    library = _library()
    try:
        found = {
            connection.pid
            for connection in library.net_connections(kind="tcp")
            if connection.status == library.CONN_LISTEN
            and connection.laddr.port == port
            and collides(connection.laddr.ip, host)
        }
    except library.AccessDenied:
        found = {None} if _answers(port, host) else set()
    strange = found - set(ours)
    told: list[int | None] = [*sorted(pid for pid in strange if pid is not None)]
    return [*told, None] if None in strange and not ours else told


def _answers(port: int, host: str) -> bool:
    own = concrete(host)
    for address in (own,) if own else ("127.0.0.1", "::1"):
        try:
            socket.create_connection((address, port), timeout=_CONNECT_SECONDS).close()
        except OSError:
            continue
        return True
    return False


def command_of(pid: int) -> str | None:
    """The program's name: arguments can hold secrets."""
    entry = keeper.entry_of(pid)
    if entry or MISSING is not None:
        return entry.name if entry else None
    library = _library()
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
    ticks = keeper.start_ticks(pid)
    return None if ticks is None else f"{_boot()}:{ticks}"


def is_running(pid: int, since: str | float | None) -> bool:
    """Whether the very process is there of which `running_since` told; when no start was noted, any of its number."""
    now = running_since(pid) if pid > 0 else None
    if isinstance(since, (int, float)) and now is not None:
        began = started_at(pid) if MISSING is None else None
        return began is not None and abs(began - since) < _TOLERANCE
    return now is not None and since in (None, now)


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


def environment_of(pid: int) -> dict[str, str] | None:
    """The variables that a process was started with; None where the host does not tell, or it is gone."""
    text = keeper.read_proc(pid, "environ").decode("utf-8", "replace")
    pairs = (line.partition("=") for line in text.split("\0"))
    return {name: value for name, equals, value in pairs if equals} or None


def vram_of(pids: t.Collection[int], held: t.Mapping[int, int] | None = None) -> int | None:
    """Bytes of GPU memory that processes hold together; None where no tool tells of any process.

    `held` is what the tools told of each process, if they have been asked already.
    """
    held = gpu.vram_by_pid() if held is None else held
    return sum(held.get(pid, 0) for pid in pids) if held else None
