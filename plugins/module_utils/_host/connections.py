# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP sockets of a port, whose they are, and how many clients are connected."""

from __future__ import annotations

import os
import typing as t

# proc(5), /proc/net/tcp: the states that matter here.
_LISTEN, _ESTABLISHED = "0A", "01"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def listening(port: int) -> set[int] | None:
    """The sockets that listen on a port of this network namespace; None where the host has no such table."""
    inodes = _inodes(port, _LISTEN)
    return None if inodes is None else set(inodes)


def _inodes(port: int, state: str) -> list[int] | None:
    """The inodes of a port's sockets in a state; 0 while no process has accepted it."""
    found: list[int] = []
    there = False
    end = f":{port:04X}"
    for path in _TABLES:
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                next(file, None)
                for line in file:
                    cells = line.split(None, 10)
                    # Those that listen stand first: a busy host's thousands of others are not read for them.
                    if state == _LISTEN != cells[3]:
                        break
                    if cells[3] == state and cells[1].endswith(end):
                        found.append(int(cells[9]))
        except OSError:
            continue
        there = True
    return found if there else None


class Held(t.NamedTuple):
    """Which process has which socket; `complete` says that all of the processes could be asked."""

    by: dict[int, int]
    complete: bool


def held(pids: t.Iterable[int], inodes: t.Collection[int]) -> Held:
    """Look for sockets among the descriptors of processes, and stop as soon as each is found."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes if inode}
    found: dict[int, int] = {}
    complete = True
    for pid in pids:
        if len(found) == len(wanted):
            break
        folder = f"/proc/{pid}/fd"
        try:
            names = os.listdir(folder)
        except PermissionError:
            complete = False
            continue
        except OSError:
            continue
        for name in names:
            try:
                target = os.readlink(f"{folder}/{name}")
            except PermissionError:
                # Root without the right to trace (a container) sees that there are descriptors, and not of what.
                complete = False
                break
            except OSError:
                continue
            if target in wanted:
                found.setdefault(wanted[target], pid)
    return Held(found, complete)


def established(port: int, members: t.Collection[int] | None = None) -> int | None:
    """How many clients are connected to a port, those that wait to be accepted included; None where nobody knows.

    With `members`, only connections to these processes count. Those whose descriptors are not ours to read count all:
    what is connected to the port of a runtime is connected to it. A connection that is kept open and idle counts too.
    """
    inodes = _inodes(port, _ESTABLISHED)
    if inodes is None:
        return None
    if members is None:
        return len(inodes)
    ours = held(members, inodes)
    if not ours.complete:
        return len(inodes)
    return sum(1 for inode in inodes if not inode or inode in ours.by)
