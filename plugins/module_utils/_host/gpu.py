# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's GPUs, by the makers' own tools."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess

from .._core.gpu import NVIDIA, NVIDIA_PROCESSES, Gpu, from_amd, from_nvidia, processes_from_amd, processes_from_nvidia

# A tool whose driver hangs must not hang us.
_TIMEOUT = 3


def gpus() -> list[Gpu]:
    """Every card that a tool tells of; empty without one."""
    query = f"--query-gpu={','.join(NVIDIA)}"
    text = _output("nvidia-smi", query, "--format=csv,noheader,nounits")
    if text is not None:
        return from_nvidia(text)
    text = _output("rocm-smi", "--showuse", "--showmeminfo", "vram", "--showproductname", "--json")
    return from_amd(text) if text is not None else []


def vram_by_pid() -> dict[int, int]:
    """Bytes of GPU memory by process, as far as a tool tells; empty without one."""
    query = f"--query-compute-apps={','.join(NVIDIA_PROCESSES)}"
    text = _output("nvidia-smi", query, "--format=csv,noheader,nounits")
    if text is not None:
        return processes_from_nvidia(text)
    text = _output("rocm-smi", "--showpids", "--json")
    return processes_from_amd(text) if text is not None else {}


def _output(command: str, *arguments: str) -> str | None:
    path = shutil.which(command)
    if not path:
        return None
    try:
        tool = subprocess.Popen(
            [path, *arguments],
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return None
    try:
        said, _nothing = tool.communicate(timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        # It is not waited for: one that hangs in its driver does not even end when it is killed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(tool.pid, signal.SIGKILL)
        if tool.stdout:
            tool.stdout.close()
        return None
    return said if tool.returncode == 0 else None
