# SPDX-License-Identifier: GPL-3.0-or-later
"""The one thing that only LM Studio's command tells: where a model's files lie.

Any of its commands but the questions for a status starts the program, or even installs it (open client of 2026-08-13).
So it is asked only by those who have just talked to the running server, and never while only looking.
"""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

from .daemon import entries

_USUAL = ("lms", "~/.lmstudio/bin/lms")
_TIMEOUT = 60


def paths_of(key: str, origin: t.Mapping[str, t.Any]) -> list[str]:
    """Paths below its folder of models, of the model with this key; empty where the command is not there."""
    for command in [str(origin["executable"])] if origin.get("executable") else _USUAL:
        try:
            done = subprocess.run(
                [str(Path(command).expanduser()) if "/" in command else command, "ls", "--json"],
                capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=_TIMEOUT,
            )  # fmt: skip
            listed = json.loads(done.stdout)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            continue
        return [str(entry["path"]) for entry in entries(listed) if entry.get("modelKey") == key and entry.get("path")]
    return []
