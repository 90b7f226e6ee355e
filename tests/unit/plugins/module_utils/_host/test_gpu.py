# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._host import gpu, keeper


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def _tool(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_memory_by_process(tools: Path) -> None:
    assert gpu.vram_by_pid() == {}
    _tool(tools, "rocm-smi", """echo '{"system": {"PID12": "x, 1, 5, 0, 12"}}'""")
    assert gpu.vram_by_pid() == {12: 5}
    _tool(tools, "nvidia-smi", 'case "$*" in *compute-apps=pid,used_memory*) echo "7, 3";; esac')
    assert gpu.vram_by_pid() == {7: 3 * 1024 * 1024}
    _tool(tools, "nvidia-smi", "exit 9")
    assert gpu.vram_by_pid() == {12: 5}


def test_a_tool_that_hangs_is_left(tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu, "_TIMEOUT", 0.3)
    # Its child keeps the pipe open, and it heeds no signal that can be ignored.
    _tool(tools, "nvidia-smi", f"trap '' TERM\necho $$ >{tmp_path}/pid\nsleep 600 &\nwait\nsleep 600")
    started = time.monotonic()
    assert gpu.vram_by_pid() == {}
    assert time.monotonic() - started < 2
    session = int((tmp_path / "pid").read_text())
    time.sleep(0.1)
    assert not [each for each in keeper.table().values() if each.session == session and each.state != "Z"]
