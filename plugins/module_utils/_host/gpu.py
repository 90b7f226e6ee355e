# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's GPUs, by the makers' own tools."""

from __future__ import annotations

import os
import shutil
import time

from .._api.background import Background
from .._api.bounded_command import run
from .._core.gpu import (
    NVIDIA_CARD,
    NVIDIA_PROCESSES,
    Gpu,
    Holding,
    by_pid,
    from_amd,
    from_nvidia,
    processes_from_amd,
    processes_from_nvidia,
)

# Where the tools lie besides PATH: ROCm's own folder, and that of the Windows Subsystem for Linux.
PLACES = ("/opt/rocm/bin", "/usr/lib/wsl/lib")
# Seconds that a tool may take to end when it is told to.
_GRACE = 0.1
# Seconds for them where a caller has no deadline of its own.
_PATIENCE = 3.0


def gpus(until: float | None = None) -> list[Gpu]:
    """Every card that a tool tells of until `until` (of time.monotonic, in three seconds); empty without one.

    Both makers' tools are asked at once: the one whose driver hangs must not take the other's time.
    """
    until = time.monotonic() + _PATIENCE if until is None else until
    query = f"--query-gpu={','.join(NVIDIA_CARD)}"
    nvidia = _asked(until, "nvidia-smi", query, "--format=csv,noheader,nounits")
    amd = _asked(
        until, "rocm-smi", "--showuse", "--showmeminfo", "vram", "--showproductname", "--showuniqueid", "--json"
    )
    return [*from_nvidia(nvidia.result(until, "")), *from_amd(amd.result(until, ""))]


def vram_by_pid(until: float | None = None) -> dict[int, int]:
    """Bytes of GPU memory by process, as far as a tool tells until then; empty without one."""
    return by_pid(holdings(until))


def holdings(until: float | None = None) -> list[Holding]:
    """What each process holds of each card, as far as a tool tells until then; empty without one."""
    until = time.monotonic() + _PATIENCE if until is None else until
    query = f"--query-compute-apps={','.join(NVIDIA_PROCESSES)}"
    nvidia = _asked(until, "nvidia-smi", query, "--format=csv,noheader,nounits")
    amd = _asked(until, "rocm-smi", "--showpids", "--json")
    return [*processes_from_nvidia(nvidia.result(until, "")), *processes_from_amd(amd.result(until, ""))]


def _asked(until: float, command: str, *arguments: str) -> Background[str]:
    """What the tool prints; empty where there is none, and where it fails or takes too long."""

    def ask() -> str:
        path = shutil.which(command, path=os.pathsep.join([os.environ.get("PATH", ""), *PLACES]))
        if not path:
            return ""
        done = run([path, *arguments], until=until - 2 * _GRACE, grace=_GRACE)
        return done.out if done.status == 0 else ""

    return Background(ask)
