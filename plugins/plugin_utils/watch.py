# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows how far a host is while a module runs there: a line for the host, now and then, on a terminal only.

The module writes its progress into a small file. A connection of its own reads it, as the user that the module runs as;
the one that waits for the module is left alone.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import os
import shlex
import signal
import stat
import threading
import time
import typing as t

from ansible.plugins.loader import become_loader, connection_loader
from ansible.utils.display import Display

from ..module_utils._core.layout import layout_for
from ..module_utils._core.operation import Operation, parsed, seconds_of
from ..module_utils._core.progress_line import progress_line, summary_line
from .pace import Pace

display = Display()

# Seconds from the start of a look that comes late to its turn: what has just begun has written nothing yet.
_EARLIEST = 1.0
# Seconds after which a file that says nothing new is that of a killed run. A live one says so every second.
_STALE = 30.0
_ENDING = (signal.SIGINT, signal.SIGTERM)
# Ansible loads this before it makes the processes that run tasks; those have no output of their own.
_TERMINAL = os.isatty(1)
# The pace of a task on a host: its loop's items, one after the other in one process, go on with it.
_paces: dict[tuple[str, str], Pace] = {}


class Watch:
    """A context: while it is open, a thread looks at the host and shows lines."""

    def __init__(self, action: t.Any, names: t.Sequence[str], prefix: str) -> None:
        self._action = action
        self._names = set(names)
        self._prefix = prefix
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        task = self._action._task
        if task.check_mode or task.no_log or not on_a_terminal():
            return
        with contextlib.suppress(Exception):
            # Nothing that goes wrong with watching may spoil what is watched.
            eye, command = self._eye(), f"{self._action._compute_environment_string()} {look_command(self._prefix)}"
            # Ansible keeps in the context which task this is.
            within = contextvars.copy_context().run
            self._thread = threading.Thread(target=within, args=(self._watch, eye, command.strip()), daemon=True)
            # Ansible ends its workers by a signal, and Python handles it in the main thread only, which sleeps on when
            # the kernel hands it to another. A thread begins with the mask of the one that starts it.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
            try:
                self._thread.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join(timeout=2)

    def _watch(self, eye: t.Any, command: str) -> None:
        with contextlib.suppress(Exception):
            pace = self._pace()
            while not self._ended.wait(max(_EARLIEST, pace.due - time.monotonic())):
                lines = self._lines(seen(eye._low_level_execute_command(command)["stdout"], self._names))
                for line in lines if not self._ended.is_set() else ():
                    display.display(line, color="dark gray")
                (pace.shown if lines else pace.missed)(time.monotonic())

    def _pace(self) -> Pace:
        variables = self._action._templar.available_variables
        hosts = list(variables.get("ansible_play_batch") or [self._host()])
        crowd = max(1, min(len(hosts), int(variables.get("ansible_forks") or len(hosts))))
        position = hosts.index(self._host()) if self._host() in hosts else 0
        key = (str(self._action._task._uuid), self._host())
        return _paces.setdefault(key, Pace(position, crowd, time.monotonic()))

    def _host(self) -> str:
        return str(self._action._templar.available_variables.get("inventory_hostname", "?"))

    def _eye(self) -> t.Any:
        """The action over again, with a connection of its own and the same way to become the module's user."""
        own = self._action._connection
        made = connection_loader.get(own._load_name, self._action._play_context, os.devnull)
        made.set_options(direct=own.get_options())
        if own.become:
            become = become_loader.get(own.become._load_name)
            become.set_options(direct=own.become.get_options())
            made.set_become_plugin(become)
        eye = copy.copy(self._action)
        eye._connection = made
        return eye

    def _lines(self, running: t.Sequence[Operation]) -> list[str]:
        """One line for the host; with -v one more for each model, where that is not the same."""
        if not running:
            return []
        newest = max(running, key=lambda operation: operation.started_at)
        lines = [summary_line(newest, display.columns, self._host())]
        if display.verbosity and (newest.steps > 1 or len(running) > 1):
            lines += [progress_line(operation, display.columns, self._host()) for operation in running]
        return lines


def seen(told: str, names: t.Container[str]) -> list[Operation]:
    """The operations with these models that run now, of what `look_command` prints."""
    lines = told.splitlines()
    # Whatever else a login prints stands around it. The host's own clock wrote the files too.
    now = max((seconds_of(line.strip()) for line in lines), default=0.0)
    found = [operation for operation in map(parsed, lines) if operation and operation.running]
    return [
        operation
        for operation in found
        if operation.model_name in names and now - seconds_of(operation.seen_at) < _STALE
    ]


def look_command(prefix: str) -> str:
    """Print the time and the progress files of whoever runs it, from where the module writes them."""
    home = 'name=$(id -un); case "$name" in *[!A-Za-z0-9._-]*) home=$HOME;; *) eval "home=~$name";; esac'
    if prefix:
        # The module takes a path, so ~ is meant.
        below, rest = ('"$HOME"', prefix[1:] or "/") if prefix == "~" or prefix.startswith("~/") else ("", prefix)
        run = layout_for(root=False, user="", home="", run_home=None, prefix=rest).run
        place = f"run={below}{shlex.quote(run)}"
    else:
        root = layout_for(root=True, user="", home="", run_home=None).run
        session = layout_for(root=False, user="", home="", run_home="$XDG_RUNTIME_DIR").run
        alone = layout_for(root=False, user="", home="$home", run_home=None).run
        place = (
            f'if [ "$(id -u)" = 0 ]; then run={root}; elif [ -n "$XDG_RUNTIME_DIR" ]; then run="{session}"; '
            f'else {home}; run="{alone}"; fi'
        )
    script = f'date -u +%Y-%m-%dT%H:%M:%SZ; {place}; cat "$run"/progress/*.json 2>/dev/null; true'
    return f"sh -c {shlex.quote(script)}"


def on_a_terminal() -> bool:
    """Whether people see what is shown. Loaded too late to know, this asks what its parent's output is."""
    if _TERMINAL:
        return True
    try:
        place = f"/proc/{os.getppid()}/fd/1"
        if not stat.S_ISCHR(os.stat(place).st_mode):
            return False
        output = os.open(place, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return os.isatty(output)
    finally:
        os.close(output)
