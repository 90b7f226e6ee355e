# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU tools of every kind, as programs that are really run."""

from __future__ import annotations

import json
import os
import signal
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.gpu import AMD, NVIDIA, Gpu, Holding
from ansible_collections.llmops.fleet.plugins.module_utils._host import gpu

ROCM_SMI = json.dumps(
    {"card0": {"GPU use (%)": "7", "VRAM Total Memory (B)": str(2**34), "VRAM Total Used Memory (B)": str(2**33),
               "Card Series": "Radeon"}}
)  # fmt: skip
NVIDIA_SMI = "NVIDIA L4, 35, 20000, 24564, GPU-8932f937"
RADEON = Gpu("Radeon", 7.0, 8192, 16384, AMD)
L4 = Gpu("NVIDIA L4", 35.0, 20000, 24564, NVIDIA, 0, "GPU-8932f937")
# It does not end when it is asked to, and neither does its child, which has the output open.
HANGS = "trap '' TERM; (trap '' TERM; sleep 60) & echo $! > {child}; sleep 60"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[str, str], None]:
    """Make a tool of these shell commands, in PATH or for AMD at ROCm's own place."""
    own, rocm = tmp_path / "bin", tmp_path / "rocm"
    for folder in (own, rocm):
        folder.mkdir()
    monkeypatch.setenv("PATH", f"{own}:/usr/bin:/bin")
    monkeypatch.setattr(gpu, "PLACES", (str(rocm),))

    def make(name: str, commands: str) -> None:
        program = (rocm if name == "rocm-smi" else own) / name
        program.write_text(f"#!/bin/sh\n{commands}\n")
        program.chmod(0o755)

    return make


def look(seconds: float = 5.0) -> list[Gpu]:
    return gpu.gpus(time.monotonic() + seconds)


def test_no_tool_is_no_card(tool: t.Any) -> None:
    assert look() == []


def test_each_maker_alone_and_both(tool: t.Any) -> None:
    tool("rocm-smi", f"echo '{ROCM_SMI}'")
    assert look() == [RADEON]
    tool("nvidia-smi", f"echo '{NVIDIA_SMI}'")
    assert look() == [L4, RADEON]


@pytest.mark.parametrize(
    "commands",
    [
        "echo 'No devices were found'; exit 6",
        "exec /no/such/program",
        "head -c 100000 /dev/urandom",
        "echo 'A, nan, inf, 1e400'",
        "echo 'A, -5, [N/A], '",
        "echo '[[[[[[[[[[[[['",
        "printf '%0100000d' 0 | tr 0 '['",
        'echo \'{"card0": 7, "card1": {"VRAM Total Memory (B)": "nan"}, "card2": {"VRAM Total Memory (B)": []}}\'',
        'echo \'{"card0": {"VRAM Total Memory (B)": 1e400, "Card Series": [1]}}\'',
        "echo '[1]'",
    ],
)
def test_garbage_of_one_costs_the_other_nothing(tool: t.Any, commands: str) -> None:
    tool("nvidia-smi", commands)
    tool("rocm-smi", f"echo '{ROCM_SMI}'")
    found = look()
    assert found[-1] == RADEON
    assert all(card.used_mb is None and card.total_mb is None for card in found[:-1])
    tool("nvidia-smi", f"echo '{NVIDIA_SMI}'")
    tool("rocm-smi", commands)
    assert look() == [L4]


def test_a_tool_that_hangs_ends_in_time_with_its_children(tool: t.Any, tmp_path: Path) -> None:
    tool("nvidia-smi", HANGS.format(child=tmp_path / "one"))
    tool("rocm-smi", HANGS.format(child=tmp_path / "two"))
    began = time.monotonic()
    assert look(1.0) == []
    assert time.monotonic() - began < 1.3
    time.sleep(0.3)
    for name in ("one", "two"):
        stat = Path("/proc", (tmp_path / name).read_text().strip(), "stat")
        # A machine without a real first process keeps the dead as zombies.
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_a_tool_that_hangs_takes_nothing_from_the_other(tool: t.Any) -> None:
    tool("nvidia-smi", "sleep 60")
    tool("rocm-smi", f"echo '{ROCM_SMI}'")
    assert look(1.0) == [RADEON]


def test_a_tool_that_nothing_can_end_is_not_waited_for(tool: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the state D: no signal takes effect."""
    ended: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, _signal: ended.append(pid))
    tool("nvidia-smi", "trap '' TERM; sleep 30")
    began = time.monotonic()
    assert look(0.8) == []
    assert time.monotonic() - began < 1.1
    time.sleep(0.3)
    monkeypatch.undo()
    for pid in set(ended):
        os.killpg(pid, signal.SIGKILL)


def test_memory_by_process(tool: t.Any) -> None:
    assert gpu.vram_by_pid() == {}
    tool("rocm-smi", """echo '{"system": {"PID12": "x, 1, 5, 0, 12"}}'""")
    assert gpu.vram_by_pid() == {12: 5}
    tool("nvidia-smi", 'case "$*" in *compute-apps=pid,used_memory,gpu_uuid*) echo "7, 3, GPU-1f";; esac')
    assert gpu.vram_by_pid() == {7: 3 * 1024 * 1024, 12: 5}
    assert gpu.holdings() == [Holding(7, 3 * 1024 * 1024, NVIDIA, "GPU-1f"), Holding(12, 5, AMD)]
