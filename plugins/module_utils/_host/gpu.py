# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's GPUs, by the makers' own tools."""

from __future__ import annotations

import shutil
import subprocess

from .._core.gpu import NVIDIA, Gpu, from_amd, from_nvidia

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


def _output(command: str, *arguments: str) -> str | None:
    path = shutil.which(command)
    if not path:
        return None
    try:
        done = subprocess.run(
            [path, *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
