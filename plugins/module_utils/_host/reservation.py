# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes of a disk that running pulls are about to take, so that two stores do not both count the same free ones."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
from pathlib import Path

from .disk import device_of
from .durable import read_text
from .ownership import Owner, make_folder
from .processes import is_running, running_since


@contextlib.contextmanager
def reserved(run: Path, store: Path, count: int, owner: Owner) -> t.Iterator[t.Callable[[int], None]]:
    """Say for the block that `count` bytes of the store's disk are spoken for; call the value with what is left."""
    folder = run / "reservations"
    try:
        make_folder(folder, owner, 0o755)
    except OSError:
        # Without a place to say it, others count as they did before.
        yield lambda _left: None
        return
    path = folder / f"{os.getpid()}.json"
    partial = store / "partial"
    record = {
        "pid": os.getpid(),
        "started_at": running_since(os.getpid()),
        "device": device_of(store),
        "folder": str(partial),
    }

    def say(left: int) -> None:
        with contextlib.suppress(OSError):
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps({**record, "bytes": left, "there": _size(partial)}), encoding="utf-8")
            os.replace(fresh, path)

    say(count)
    try:
        yield say
    finally:
        path.unlink(missing_ok=True)


def reserved_by_others(run: Path, store: Path) -> int:
    """Bytes of the store's disk that other live runs have reserved; a dead run's word counts no more."""
    folder, total = run / "reservations", 0
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            record = json.loads(read_text(path) or "")
            pid, started = int(record["pid"]), record["started_at"]
            alive = pid != os.getpid() and started is not None and is_running(pid, started)
            if alive and record["device"] == device_of(store):
                # What has come since is taken from the free bytes already.
                come = _size(Path(record["folder"])) - int(record["there"])
                total += max(0, int(record["bytes"]) - max(0, come))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
    return total


def _size(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
    return 0
