# SPDX-License-Identifier: GPL-3.0-or-later
"""What the supervisor `systemd` makes of what systemd says: a stand-in says it. The real one is met in Molecule."""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.errors import LlmError
from ansible_collections.llmops.fleet.plugins.module_utils._core.layout import layout_for
from ansible_collections.llmops.fleet.plugins.module_utils._core.supervisor import Service
from ansible_collections.llmops.fleet.plugins.module_utils._host import systemd

GROUP = "/llm.slice/llm-chat.service"


class Told:
    """What systemctl says, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.supervisor = systemd.Systemd(layout_for(root=True, user="x", home="/", run_home=None))
        self.say()

    def say(self, state: str = "inactive", step: str = "dead", pid: int = 0, group: str = GROUP) -> None:
        lines = [f"ActiveState={state}", f"SubState={step}", f"MainPID={pid}", "NRestarts=2", "Result=success"]
        (self._folder / "told").write_text("\n".join([*lines, "ExecMainStatus=0", f"ControlGroup={group}"]) + "\n")

    def group(self, name: str, *pids: int) -> None:
        folder = self._folder / "unified" / (GROUP + name).lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))

    def asked(self) -> list[str]:
        return (self._folder / "asked").read_text().splitlines()


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    tool = tmp_path / "systemctl"
    tool.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n[ "$1" = show ] && cat {tmp_path}/told\nexit 0\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(systemd, "CGROUP_ROOTS", (str(tmp_path), str(tmp_path / "unified")))
    monkeypatch.setattr(systemd, "_GONE", 0.2)
    return Told(tmp_path)


@pytest.fixture
def sleeper() -> t.Iterator[int]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def test_members_are_those_of_the_control_group(told: Told, sleeper: int) -> None:
    told.group("", os.getpid())
    told.group("/workers", sleeper, 0)
    told.group("/ended", 2**22 + 1)
    told.say("active", "running", os.getpid())
    seen = told.supervisor.process("chat")
    assert (seen.active, seen.pid, seen.restarts, seen.ending) == (True, os.getpid(), 2, False)
    assert seen.members == {os.getpid(), sleeper}


def test_an_empty_group_is_nobodys(told: Told) -> None:
    told.say(group="")
    (Path(systemd.CGROUP_ROOTS[0]) / "cgroup.procs").write_text(f"{os.getpid()}\n")
    assert told.supervisor.process("chat").members == frozenset()


def test_deactivating_is_told(told: Told, sleeper: int) -> None:
    told.say("deactivating", "stop-sigterm", sleeper)
    seen = told.supervisor.process("chat")
    assert (seen.active, seen.ending, seen.detail) == (True, True, "deactivating (stop-sigterm)")
    # Its main process has ended, others have not.
    told.say("deactivating", "final-sigterm", 0)
    seen = told.supervisor.process("chat")
    assert (seen.active, seen.ending) == (False, True)


def test_a_stop_that_leaves_nothing(told: Told) -> None:
    told.group("")
    told.supervisor.stop(Service("chat", 1))
    verbs = [line.split()[0] for line in told.asked()]
    assert [verb for verb in verbs if verb != "show"] == ["disable", "stop", "reset-failed"]
    assert all(line.endswith("llm-chat.service") or line.startswith("show llm-chat.service ") for line in told.asked())


def test_a_stop_that_leaves_somebody(told: Told, sleeper: int) -> None:
    told.group("/workers", sleeper)
    with pytest.raises(LlmError, match=rf"Runtime chat: process {sleeper} \(sleep\) of llm-chat.service") as failure:
        told.supervisor.stop(Service("chat", 1))
    assert failure.value.reason == "stop_failed"


def test_a_systemd_that_hangs(told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(systemd, "_ASK", 0.2)
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexec sleep 600\n")
    with pytest.raises(LlmError, match="did not return within"):
        told.supervisor._call("show", "x", timeout=0.2)
