# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory a model may have on this host: the machine's, or less where a container or a unit is limited."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path, PurePosixPath

from .._core.memory_limit import memory_max
from .._core.room import Given, Room, room_of
from .._core.visible_gpus import Sight
from . import gpu, processes


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
    sight: Sight,
    *,
    going: t.Collection[int] = (),
    given: t.Collection[Given] = (),
    unit: str = "",
    root: Path = Path("/"),
) -> Room:
    """Memory as it is now, for a runtime that sees these GPUs and has this text of a unit.

    `going` are the processes that end for it, the descendants included: what they hold is counted as free. `given` is
    what others give back.
    """
    machine, available = processes.memory()
    total = machine
    for limit, left in cgroup_limits(root):
        total, available = min(total, limit), min(available, left)
    held = gpu.holdings() if (going or given) and sight.cards else []
    freed = [private_memory(going, root), *(_given_memory(each, root) for each in given)]
    known = [each for each in freed if each is not None]
    ram_freed = sum(known) if len(known) == len(freed) else None
    return room_of((total, available), ram_freed, sight, held, going, memory_max(unit, machine), given)


def _given_memory(given: Given, root: Path) -> int | None:
    """No more than they have without pages of files, which are available already."""
    if not given.ram:
        return given.ram
    private = private_memory(given.members, root) if given.members else None
    return None if private is None else min(private, given.ram)


def private_memory(pids: t.Iterable[int], root: Path = Path("/")) -> int | None:
    """Bytes of RAM that come free when processes and their descendants end; None where the host does not tell.

    Pages of files are not among them: the kernel counts those as available while a process maps them.
    """
    members = processes.families(frozenset(pids))
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for member in members:
        try:
            # proc_pid_statm(5): size, resident, shared (of files and shared memory), in pages.
            _size, resident, shared = (root / "proc" / str(member) / "statm").read_text(encoding="ascii").split()[:3]
        except FileNotFoundError:
            if not (root / "proc/self").exists():
                return None
        except (OSError, ValueError):
            continue
        else:
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
