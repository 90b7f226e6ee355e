# SPDX-License-Identifier: GPL-3.0-or-later
"""What all hosts of a task need is done for the first of them, and handed to the others.

Ansible runs hosts in processes of their own. They share the folder that Ansible makes for a run and removes with it, so
that check mode and a run that is killed leave nothing either.
"""

from __future__ import annotations

import contextlib
import json
import time
import typing as t
from pathlib import Path

from ..module_utils._core.errors import LlmError
from ..module_utils._host.durable import read_text, write_text
from ..module_utils._host.lock import hold
from ..module_utils._host.ownership import Owner

# Seconds that something made is handed on: a play in batches comes back to its task much later.
_LASTS = 300.0
# When this process, which is one host's task with its items and retries, took something last, by name.
_taken: dict[str, float] = {}


def once(folder: Path, name: str, make: t.Callable[[], dict[str, t.Any]], *, wait: float) -> dict[str, t.Any]:
    """What `make` gives: made here, or by another process while this one waited, up to `wait` seconds.

    Whoever comes again, for a retry, gets something newer than what it had.
    """
    path = folder / f"{name}.json"
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(LlmError, OSError):
            # Without the lock it is made once more than needed, which is better than not at all.
            stack.enter_context(hold(path.with_suffix(".lock"), what=name, timeout=wait, owner=Owner()))
        made = _handed(path, _taken.get(name, 0.0))
        if made is None:
            made = make()
            with contextlib.suppress(OSError):
                write_text(path, json.dumps({"at": time.monotonic(), "made": made}), mode=0o600)
    _taken[name] = time.monotonic()
    return made


def _handed(path: Path, after: float) -> dict[str, t.Any] | None:
    try:
        document = json.loads(read_text(path) or "null")
        at, made = float(document["at"]), document["made"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    age = time.monotonic() - at
    return made if isinstance(made, dict) and at > after and 0 <= age < _LASTS else None
