# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervisor `systemd`: one service unit a runtime."""

from __future__ import annotations

import subprocess
import time

from .._core.errors import LlmError
from .._core.layout import Layout, unit_name
from .._core.supervisor import Process, Service
from .processes import started_at

_PROPERTIES = ("ActiveState", "SubState", "MainPID", "NRestarts", "Result", "ExecMainStatus")
_LOG_LINES = 200


class Systemd:
    """All commands name the unit whole, so that no pattern can ever match another one."""

    name = "systemd"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def definition_path(self, runtime: str) -> str:
        return self._layout.unit_file(runtime)

    def process(self, runtime: str) -> Process:
        told = self._call("show", unit_name(runtime), f"--property={','.join(_PROPERTIES)}")
        seen = dict(line.partition("=")[::2] for line in told.splitlines())
        pid = int(seen.get("MainPID") or 0)
        active = seen.get("ActiveState") in ("active", "reloading", "deactivating") and pid > 0
        failing = seen.get("ActiveState") == "failed" or seen.get("SubState") == "auto-restart"
        return Process(
            active=active,
            pid=pid or None,
            started_at=started_at(pid) if active else None,
            restarts=int(seen.get("NRestarts") or 0),
            failing=failing,
            detail=f"{seen.get('Result')}, exit status {seen.get('ExecMainStatus')}",
        )

    def reload(self) -> None:
        self._call("daemon-reload")

    def start(self, service: Service) -> None:
        unit = unit_name(service.name)
        # Earlier failures must not use up the start limit of this attempt.
        self._call("reset-failed", unit, may_fail=True)
        self._call("enable", "--quiet", unit)
        started = time.time()
        try:
            self._call("restart", unit)
        except LlmError as failure:
            # systemctl only says that it failed; the journal says what.
            lines = self.log(service.name, started).strip().splitlines()
            said = next((line for line in lines if "exited" in line or "Failed at" in line), "")
            raise LlmError(failure.reason, f"{failure.what.rstrip('.')}: {said}.", log=lines[-20:]) from None

    def stop(self, service: Service) -> None:
        unit = unit_name(service.name)
        self._call("disable", "--quiet", unit, may_fail=True)
        # It fails for a unit that is not there, which is as well; what counts is that nothing runs.
        self._call("stop", unit, may_fail=True)
        left = self.process(service.name)
        if left.active:
            raise LlmError("stop_failed", f"Runtime {service.name}: process {left.pid} of {unit} does not end.")
        self._call("reset-failed", unit, may_fail=True)

    def forget(self, runtime: str) -> None:
        del runtime
        self.reload()

    def enabled(self, runtime: str) -> bool:
        return self._call("is-enabled", unit_name(runtime), may_fail=True).strip() == "enabled"

    def log(self, runtime: str, since: float) -> str:
        words = ["journalctl", "--unit", unit_name(runtime), "--output", "cat", "--no-pager"]
        words += ["--lines", str(_LOG_LINES), "--since", f"@{int(since)}"]
        # The journal takes lines in a moment after their writer has ended.
        subprocess.run(["journalctl", "--sync"], capture_output=True, check=False, timeout=30)
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30, errors="replace")
        return done.stdout

    def _call(self, *words: str, may_fail: bool = False) -> str:
        done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
        if done.returncode and not may_fail:
            said = done.stderr.strip().splitlines()
            raise LlmError("supervisor_failed", f"systemctl {' '.join(words)} failed: {said[0] if said else ''}")
        return done.stdout
