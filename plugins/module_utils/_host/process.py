# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervisor `process`: a keeper of ours a runtime, where there is no systemd."""

from __future__ import annotations

import contextlib
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
from .._core.ports import Process, Service
from . import keeper
from .durable import read_text, write_text
from .ownership import Owner, make_folder
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
        if state is None:
            return Process()
        alive = bool(state["pid"]) and keeper.is_alive(state["pid"], state["ticks"])
        return Process(
            active=alive,
            pid=state["pid"] if alive else None,
            started_at=state["started_at"] if alive else None,
            restarts=state["restarts"],
            failing=not alive and bool(state["detail"]),
            detail=state["detail"],
        )

    def reload(self) -> None:
        """Definitions are read at every start."""

    def start(self, service: Service) -> None:
        self.stop(service)
        folder = Path(self._layout.runtime_folder(service.name))
        for path in (Path(self._layout.logs), Path(self._layout.run)):
            make_folder(path, Owner(), 0o755)
        program = folder / "keeper.py"
        write_text(program, inspect.getsource(keeper), mode=0o644)
        words = [sys.executable, "-I", str(program), self.definition_path(service.name), self._state_path(service.name)]
        # A session of its own and no descriptor of ours: it outlives the connection, and nobody waits for it.
        subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            close_fds=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
        )
        up, _seen = until(lambda: self._state(service.name), lambda state: state is not None, _FIRST_LIFE)
        if not up:
            raise LlmError("supervisor_failed", f"The keeper of runtime {service.name} did not start.")

    def stop(self, service: Service) -> None:
        state = self._state(service.name)
        if state and keeper.is_alive(state["keeper_pid"], state["keeper_ticks"]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(state["keeper_pid"], signal.SIGTERM)
            gone, _seen = until(
                lambda: keeper.is_alive(state["keeper_pid"], state["keeper_ticks"]),
                lambda alive: not alive,
                service.stop_timeout + _KEEPER_GRACE,
            )
            if not gone:
                raise LlmError("stop_failed", f"Runtime {service.name}: its keeper {state['keeper_pid']} does not end.")
        elif state and state["pid"]:
            # The keeper was killed; what it started is in a group of its own.
            keeper.end_group(state["pid"], state["ticks"], service.stop_timeout)
        Path(self._state_path(service.name)).unlink(missing_ok=True)

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
        return text.rpartition(keeper.START_LINE)[2]

    def _state_path(self, runtime: str) -> str:
        return f"{self._layout.run}/{runtime}.pid"

    def _state(self, runtime: str) -> dict[str, t.Any] | None:
        text = read_text(Path(self._state_path(runtime)))
        try:
            return dict(json.loads(text)) if text else None
        except ValueError:
            return None


def _is_noted(state: dict[str, t.Any] | None) -> bool:
    """Whether what became of the engine is in its keeper's state, or nobody is there to write it."""
    if state is None or not state["pid"] or keeper.is_alive(state["pid"], state["ticks"]):
        return True
    return not keeper.is_alive(state["keeper_pid"], state["keeper_ticks"])


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
