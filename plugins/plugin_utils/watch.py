# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows how far a host is while a module runs there: one line a host, now and then, on a terminal only.

The module writes its progress into a small file that everybody may read. A connection of its own reads it; the one that
waits for the module is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import threading
import typing as t

from ansible.plugins.loader import connection_loader
from ansible.utils.display import Display

from ..module_utils._core.operation import Operation, mended
from ..module_utils._core.progress_line import progress_line

display = Display()

# Seconds before the first line, so that a short run shows none, and between two lines of one host.
_FIRST = 4.0
_PACE = 5.0
_LONGEST_PACE = 60.0
# What `Display.columns` is where there is no terminal to be measured (ansible/utils/display.py).
_NO_TERMINAL = 79


class Watch:
    """A context: while it is open, a thread looks at the host and shows lines."""

    def __init__(self, action: t.Any, names: t.Sequence[str], prefix: str) -> None:
        self._action = action
        self._names = set(names)
        self._command = _command(prefix)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        task = self._action._task
        if task.check_mode or task.no_log or not _on_a_terminal():
            return
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join(timeout=2)

    def _watch(self) -> None:
        wait = _FIRST
        # A fleet shows about one line a second in all, whatever its size; with -v each host has its own pace.
        pace = _PACE if display.verbosity else max(_PACE, float(self._fleet()))
        with contextlib.suppress(Exception):
            # Nothing that goes wrong with watching may spoil what is watched.
            connection = self._own_connection()
            while not self._ended.wait(wait):
                for operation in self._look(connection):
                    line = progress_line(operation, display.columns - len(self._host()) - 5)
                    display.display(f"{self._host()} | {line}", color="dark gray")
                wait = min(pace, _LONGEST_PACE)
                pace *= 1.5

    def _host(self) -> str:
        return str(self._action._templar.available_variables.get("inventory_hostname", "?"))

    def _fleet(self) -> int:
        return len(self._action._templar.available_variables.get("ansible_play_hosts_all") or ())

    def _own_connection(self) -> t.Any:
        own = self._action._connection
        made = connection_loader.get(own._load_name, self._action._play_context, os.devnull)
        made.set_options(direct=own.get_options())
        return made

    def _look(self, connection: t.Any) -> list[Operation]:
        _status, out, _error = connection.exec_command(self._command, sudoable=False)
        found = []
        for line in out.decode("utf-8", "replace").splitlines():
            with contextlib.suppress(ValueError):
                operation = mended(json.loads(line))
                if operation and operation.running and operation.model_name in self._names:
                    found.append(operation)
        return found


def _command(prefix: str) -> str:
    """Print every progress file of the host; with a prefix only those below it."""
    if prefix:
        folders = [shlex.quote(f"{prefix}/run/llm/progress")]
    else:
        folders = [
            "/run/llm/progress",
            '"${XDG_RUNTIME_DIR:-/nonexistent}/llm/progress"',
            '"$HOME/.local/share/llm/run/progress"',
        ]
    return f"sh -c {shlex.quote('cat ' + ' '.join(f'{folder}/*.json' for folder in folders) + ' 2>/dev/null; true')}"


def _on_a_terminal() -> bool:
    """Whether people see what is shown. This process has no output of its own: its parent's is looked at."""
    try:
        return os.readlink(f"/proc/{os.getppid()}/fd/1").startswith(("/dev/pts/", "/dev/tty"))
    except OSError:
        return bool(display.columns != _NO_TERMINAL)
