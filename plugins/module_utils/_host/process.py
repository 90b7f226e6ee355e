# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervisor `process`: a keeper of ours a runtime, where there is no systemd."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

from .._core.errors import LlmError
from .._core.layout import Layout
from .._core.supervisor import Process, Service
from . import keeper
from .durable import write_text
from .keeper_state import KeeperState, read_keeper_state
from .ownership import Owner, make_folder
from .processes import command_of
from .waiting import until

_LOG_BYTES = 64 * 1024
# Beyond the engine's own grace, for the keeper to reap and leave.
_KEEPER_GRACE = 5.0
_FIRST_LIFE = 10.0
_LAST_WORDS = 5.0


class ProcessSupervisor:
    """The keeper is a small program that is written beside the runtime's definition and detached from us."""

    name = "process"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def definition_path(self, runtime: str) -> str:
        return f"{self._layout.runtime_folder(runtime)}/process.json"

    def process(self, runtime: str) -> Process:
        state = self._state(runtime)
        alive = state is not None and state.engine_lives
        # What runs is looked for where it must be, what is left everywhere.
        belonging = self._belonging(runtime, state, everywhere=not alive)
        members = frozenset(belonging) - ({state.keeper_pid} if state else set())
        if state is None:
            return Process(members=members)
        return Process(
            active=alive,
            pid=state.pid if alive else None,
            started_at=state.started_at if alive else None,
            restarts=state.restarts,
            failing=not alive and bool(state.detail),
            detail=state.detail,
            members=members,
            ending=alive and state.ending,
        )

    def reload(self) -> None:
        """Definitions are read at every start."""

    def check_start(self, service: Service, besides: t.Collection[int] = ()) -> None:
        """It is ours."""

    def start(self, service: Service) -> None:
        self.stop(service)
        folder = Path(self._layout.runtime_folder(service.name))
        for path in (Path(self._layout.logs), Path(self._layout.run)):
            make_folder(path, Owner(), 0o755)
        program = folder / "keeper.py"
        write_text(program, inspect.getsource(keeper), mode=0o644)
        state_path = self._layout.pid_file(service.name)
        marker = keeper.marker(state_path)
        words = [sys.executable, "-I", str(program), self.definition_path(service.name), state_path]
        # A session of its own and no descriptor of ours: it outlives the connection, and nobody waits for it.
        subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            close_fds=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **marker},
        )
        up, _seen = until(lambda: self._state(service.name), lambda state: state is not None, _FIRST_LIFE)
        if not up:
            raise LlmError("supervisor_failed", f"The keeper of runtime {service.name} did not start.")

    def stop(self, service: Service) -> None:
        state = self._state(service.name)
        # Before anything ends: parents still tell whose children they are.
        known = self._belonging(service.name, state, everywhere=True)
        grace = float(service.stop_timeout)
        if state and state.keeper_lives:
            keeper.send(state.keeper_pid, state.keeper_ticks, signal.SIGTERM)
            until(
                lambda: state.keeper_lives,
                lambda alive: not alive,
                grace + keeper.CHILD_GRACE + _KEEPER_GRACE,
            )
            # It has given the engine its time; what is still there, be it the keeper, is ended as it is.
            grace = 0.0
        elif state and not state.engine_lives:
            grace = min(grace, keeper.CHILD_GRACE)
        left = keeper.end(lambda: self._belonging(service.name, state, everywhere=True), grace, known)
        if left:
            named = ", ".join(f"{pid} ({command_of(pid)})" for pid in sorted(left))
            raise LlmError("stop_failed", f"Runtime {service.name}: process {named} does not end.")
        path = self._layout.pid_file(service.name)
        for each in (path, f"{path}.new"):
            Path(each).unlink(missing_ok=True)

    def forget(self, runtime: str) -> None:
        log = Path(self._layout.log_file(runtime))
        for path in log.parent.glob(f"{log.name}*"):
            path.unlink()

    def enabled(self, runtime: str) -> bool:
        """Without an init system nothing starts by itself; it is as wished while it runs."""
        return self.process(runtime).active

    def log(self, runtime: str, since: float) -> str:
        del since
        # The keeper takes in what an engine said last before it notes that it has ended.
        until(lambda: self._state(runtime), _is_noted, _LAST_WORDS)
        try:
            with open(self._layout.log_file(runtime), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        # What it said when it first failed, not what it says since it was started again.
        return text.rpartition(keeper.START_LINE)[2].partition(keeper.AGAIN_LINE)[0]

    def _belonging(self, runtime: str, state: KeeperState | None, *, everywhere: bool) -> dict[int, int]:
        """Every process of the runtime with its start, its keeper included.

        `everywhere` finds those too that got away from a keeper that was killed: by their session, and by the
        variables that they inherited, which takes a look at every process of the host.
        """
        entries = keeper.table()
        roots: set[int] = set()
        if state:
            for pid, ticks in ((state.keeper_pid, state.keeper_ticks), (state.pid, state.ticks)):
                if pid in entries and ticks is not None and entries[pid].ticks == ticks:
                    roots.add(pid)
        marked = keeper.marked(self._layout.pid_file(runtime), entries) if everywhere else set()
        if state and state.pid and state.ticks is not None:
            session = {entry.pid for entry in entries.values() if entry.session == state.pid}
            # With its leader a session's number is its own. Without, it can be one that was opened later by somebody
            # else, who left it too: then it is ours if one that carries our marker is in it.
            if state.pid in roots or session & marked:
                roots |= {pid for pid in session if entries[pid].ticks >= state.ticks}
        found = keeper.with_descendants(roots | marked, entries) - keeper.ancestors(os.getpid(), entries)
        return {pid: entries[pid].ticks for pid in found if entries[pid].state not in "ZX"}

    def _state(self, runtime: str) -> KeeperState | None:
        return read_keeper_state(self._layout.pid_file(runtime))


def _is_noted(state: KeeperState | None) -> bool:
    """Whether what became of the engine is in its keeper's state, or nobody is there to write it."""
    return state is None or not state.pid or state.engine_lives or not state.keeper_lives


def definition_text(
    *, command: t.Sequence[str], layout: Layout, runtime: str, user: str | None, stop_timeout: int
) -> str:
    """What the keeper reads at every start of the engine."""
    document = {
        "command": list(command),
        "environment_files": [layout.environment_file(runtime), layout.secrets_file(runtime)],
        "log": layout.log_file(runtime),
        "stop_timeout": stop_timeout,
        "user": user,
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
