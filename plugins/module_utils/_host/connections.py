# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP sockets of a port, whose they are, and how many clients are connected."""

from __future__ import annotations

import ipaddress
import os
import sys
import typing as t

from .._core.collision import collides

# proc(5), /proc/net/tcp: the states that matter here.
_LISTEN, _ESTABLISHED = "0A", "01"
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


class Socket(t.NamedTuple):
    """This host's end of it. `inode` is 0 while no process has accepted it."""

    address: str
    port: int
    inode: int


def listeners() -> set[Socket]:
    """Everything that listens in this network namespace; empty where the host has no such table."""
    return set(_sockets(_LISTEN) or ())


def listening(port: int, host: str = "") -> set[int] | None:
    """The inodes of what listens on a port, in the way of a runtime on `host`; None where the host has no table."""
    found = _sockets(_LISTEN, port)
    return None if found is None else {each.inode for each in found if collides(each.address, host)}


def _sockets(state: str, port: int | None = None) -> list[Socket] | None:
    """The sockets in a state, all or those of a port; None where the host has no such table."""
    found: list[Socket] = []
    there = False
    end = "" if port is None else f":{port:04X}"
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
                        address, _colon, number = cells[1].partition(":")
                        found.append(Socket(_address(address), int(number, 16), int(cells[9])))
        except OSError:
            continue
        there = True
    return found if there else None


def _address(text: str) -> str:
    """Each word of four bytes stands in the order of the processor."""
    words = [int(text[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


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


def established(port: int, members: t.Collection[int] | None = None, host: str = "") -> int | None:
    """How many clients are connected to a port, those that wait to be accepted included; None where nobody knows.

    `host` is where the runtime listens: who is connected to another address of the same port is not its client.
    With `members`, only connections to these processes count. Those whose descriptors are not ours to read count all:
    what is connected to the port of a runtime is connected to it. A connection that is kept open and idle counts too.
    """
    found = _sockets(_ESTABLISHED, port)
    if found is None:
        return None
    addresses = {address for address in {each.address for each in found} if collides(address, host)}
    inodes = [each.inode for each in found if each.address in addresses]
    if members is None:
        return len(inodes)
    ours = held(members, inodes)
    if not ours.complete:
        return len(inodes)
    return sum(1 for inode in inodes if not inode or inode in ours.by)
