# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervisor `systemd`: one service unit a runtime."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import typing as t

from .._core.errors import LlmError
from .._core.layout import Layout, unit_name
from .._core.supervisor import Process, Service
from . import keeper
from .processes import command_of, started_at
from .waiting import until

_PROPERTIES = ("ActiveState", "SubState", "MainPID", "NRestarts", "Result", "ExecMainStatus", "ControlGroup")
_LOG_LINES = 200
# Where a unit's group lies: cgroup v2 alone, v2 beside v1, and systemd's own tree of v1.
CGROUP_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")
# Seconds: for an answer, for what systemd does besides the engine's grace, for killed processes to be gone.
_ASK, _ACT, _GONE = 20.0, 180.0, 3.0


class Systemd:
    """All commands name the unit whole, so that no pattern can ever match another one."""

    name = "systemd"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def definition_path(self, runtime: str) -> str:
        return self._layout.unit_file(runtime)

    def process(self, runtime: str) -> Process:
        seen = self._properties(unit_name(runtime))
        pid = int(seen.get("MainPID") or 0)
        state, step = seen.get("ActiveState"), seen.get("SubState")
        active = state in ("active", "reloading", "deactivating") and pid > 0
        detail = f"{seen.get('Result')}, exit status {seen.get('ExecMainStatus')}"
        return Process(
            active=active,
            pid=pid or None,
            started_at=started_at(pid) if active else None,
            restarts=int(seen.get("NRestarts") or 0),
            failing=state == "failed" or step == "auto-restart",
            detail=f"deactivating ({step})" if state == "deactivating" else detail,
            members=cgroup_members(seen.get("ControlGroup") or ""),
            ending=state == "deactivating",
        )

    def reload(self) -> None:
        self._call("daemon-reload")

    def check_start(self, service: Service, besides: t.Collection[int] = ()) -> None:
        """It is ours."""

    def start(self, service: Service) -> None:
        unit = unit_name(service.name)
        # Earlier failures must not use up the start limit of this attempt.
        self._call("reset-failed", unit, may_fail=True)
        self._call("enable", "--quiet", unit)
        started = time.time()
        try:
            self._call("restart", unit, timeout=2 * service.stop_timeout + _ACT)
        except LlmError as failure:
            # systemctl only says that it failed; the journal says what.
            lines = self.log(service.name, started).strip().splitlines()
            said = next((line for line in lines if "exited" in line or "Failed at" in line), "")
            raise LlmError(failure.reason, f"{failure.what.rstrip('.')}: {said}.", log=lines[-20:]) from None

    def stop(self, service: Service) -> None:
        unit = unit_name(service.name)
        self._call("disable", "--quiet", unit, may_fail=True)
        # Asked before: systemd forgets the group of a unit that it takes for stopped.
        group = self._properties(unit).get("ControlGroup") or ""
        # It fails for a unit that is not there, which is as well; what counts is that nothing runs.
        self._call("stop", unit, may_fail=True, timeout=2 * service.stop_timeout + _ACT)

        def look() -> frozenset[int]:
            main = self.process(service.name)
            return cgroup_members(group) | main.members | ({main.pid} if main.active and main.pid else set())

        gone, left = until(look, lambda members: not members, _GONE)
        if not gone:
            named = ", ".join(f"{pid} ({command_of(pid)})" for pid in sorted(left))
            raise LlmError("stop_failed", f"Runtime {service.name}: process {named} of {unit} does not end.")
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
        try:
            subprocess.run(["journalctl", "--sync"], capture_output=True, check=False, timeout=_ASK)
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_ASK, errors="replace")
        except (OSError, subprocess.TimeoutExpired):
            # What went wrong is worth more than its log.
            return ""
        return done.stdout

    def _properties(self, unit: str) -> dict[str, str]:
        told = self._call("show", unit, f"--property={','.join(_PROPERTIES)}")
        return dict(line.partition("=")[::2] for line in told.splitlines())

    def _call(self, *words: str, may_fail: bool = False, timeout: float = _ASK) -> str:
        try:
            done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise LlmError(
                "supervisor_failed", f"systemctl {' '.join(words)} did not return within {timeout:.0f} s."
            ) from None
        if done.returncode and not may_fail:
            said = done.stderr.strip().splitlines()
            raise LlmError("supervisor_failed", f"systemctl {' '.join(words)} failed: {said[0] if said else ''}")
        return done.stdout


def cgroup_members(group: str) -> frozenset[int]:
    """The processes of a control group and of those below it, but for ended ones that nobody reaped."""
    found: set[int] = set()
    if group in ("", "/"):
        return frozenset()
    for root in CGROUP_ROOTS:
        for folder, _folders, files in os.walk(f"{root}{group}"):
            if "cgroup.procs" in files:
                with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs", encoding="ascii") as file:
                    found.update(int(line) for line in file if line.strip().isdigit())
    # Of another PID namespace are those that stand as 0.
    return frozenset(pid for pid in found if pid and keeper.start_ticks(pid) is not None)
