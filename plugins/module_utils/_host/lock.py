# SPDX-License-Identifier: GPL-3.0-or-later
"""One writer at a time: an advisory file lock that the kernel gives back when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import typing as t
from pathlib import Path

from .._core.errors import LlmError
from .ownership import Owner, make_folder

_PAUSE = 0.1


@contextlib.contextmanager
def hold(path: Path, *, what: str, timeout: float, owner: Owner) -> t.Iterator[None]:
    """Hold the lock `path` for the block; wait up to `timeout` seconds for another holder, then `locked`.

    The file says who holds it, for the message of those who wait; it stays behind empty of meaning, because
    removing it would let two holders in.
    """
    make_folder(path.parent, owner)
    with path.open("a+", encoding="utf-8") as file:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LlmError("locked", f"{what} is in use{_holder(file)}; waited {timeout:g} s.") from None
                time.sleep(_PAUSE)
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid(), "since": int(time.time())}, file)
        file.flush()
        yield


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock now; nothing is made for the question."""
    try:
        with path.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _holder(file: t.IO[str]) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return f" by process {int(holder['pid'])} for {max(0, int(time.time()) - int(holder['since']))} s"
    except (ValueError, KeyError, TypeError):
        return ""
