# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory a model may have on this host: the machine's, or less where a container or a unit is limited."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path, PurePosixPath

from .._core.fit import Room
from . import processes
from .gpu import gpus

_MEBIBYTE = 1024 * 1024


class _Files(t.NamedTuple):
    """Where a version of cgroups keeps its figures: the limit, what is used, and in it the pages of files."""

    folder: str
    limit: str
    used: str
    pages: tuple[str, str]


# Kernel documentation: admin-guide/cgroup-v1/memory.rst and admin-guide/cgroup-v2.rst.
_V1 = _Files("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file"))
_V2 = _Files("", "memory.max", "memory.current", ("active_file", "inactive_file"))


def read_room(
    *,
    freed_ram: int = 0,
    freed_vram: int = 0,
    memory_max: int | None = None,
    cards: int | None = None,
    root: Path = Path("/"),
) -> Room:
    """Memory as it is now. `freed_*` is what the model that goes gives back (`private_memory`), `memory_max` the limit
    of the runtime's own unit, `cards` on how many GPUs the engine spreads a model (all, if not said); sizes in bytes.
    """
    total, available = processes.memory()
    for limit, left in cgroup_limits(root):
        total, available = min(total, limit), min(available, left)
    if memory_max:
        total = min(total, memory_max)
    vram_total, vram_available = _vram(cards)
    return Room(total, available, freed_ram, vram_total, vram_available, freed_vram)


def private_memory(pids: t.Iterable[int], root: Path = Path("/")) -> int:
    """Bytes of RAM that come free when processes and their descendants end.

    Pages of files are not among them: the kernel counts those as available while a process maps them.
    """
    members = set().union(*(processes.family(pid) for pid in pids))
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for member in members:
        try:
            # proc_pid_statm(5): size, resident, shared (of files and shared memory), in pages.
            _size, resident, shared = (root / "proc" / str(member) / "statm").read_text(encoding="ascii").split()[:3]
        except (OSError, ValueError):
            continue
        total += max(0, int(resident) - int(shared)) * page
    return total


def cgroup_limits(root: Path = Path("/")) -> list[tuple[int, int]]:
    """For each limit that holds for this host's first process: its bytes, and how many of them are left.

    That process is in the container's group, or in the machine's; ours may be in one of a session, which a runtime is
    not. In a container the path may be the machine's, of which only the lower end is there, as the root.
    """
    try:
        lines = (root / "proc/1/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    # number:controllers:path; version 2 has the number 0 and no controllers (cgroups(7)).
    fields = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    old = [path for _number, controllers, path in fields if "memory" in controllers.split(",")]
    new = [path for number, controllers, path in fields if number == "0" and not controllers]
    files, paths = (_V1, old) if old else (_V2, new)
    found = []
    for path in paths:
        own = PurePosixPath(path.strip("/"))
        for group in (own, *own.parents) if ".." not in own.parts else (PurePosixPath(),):
            limit = _limit(root / "sys/fs/cgroup" / files.folder / group, files)
            if limit is not None:
                found.append(limit)
    return list(dict.fromkeys(found))


def _limit(folder: Path, files: _Files) -> tuple[int, int] | None:
    """None where the group is not there or has no limit (`max`; version 1 says so by a number above any machine's)."""
    try:
        limit = int((folder / files.limit).read_text(encoding="ascii"))
        used = int((folder / files.used).read_text(encoding="ascii"))
        stat = dict(line.split(" ", 1) for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        pages = sum(int(stat.get(name, 0)) for name in files.pages)
    except (OSError, ValueError):
        return None
    return limit, max(0, limit - max(0, used - pages))


def _vram(cards: int | None) -> tuple[int | None, int | None]:
    """Bytes of all cards that an engine uses; unknown where one of them does not tell."""
    found = gpus()[:cards]
    total = available = 0
    for card in found:
        if card.total_mb is None or card.used_mb is None:
            return None, None
        total += card.total_mb * _MEBIBYTE
        available += (card.total_mb - card.used_mb) * _MEBIBYTE
    return (total, available) if found else (None, None)
