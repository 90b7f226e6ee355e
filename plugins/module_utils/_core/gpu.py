# SPDX-License-Identifier: GPL-3.0-or-later
"""What GPU tools print, as figures. Two makers, one form."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

_MOST = 1e18


@dataclass(frozen=True)
class Gpu:
    """One card: busy share in percent, memory in MiB; None where the tool does not say."""

    name: str
    usage_percent: float | None
    used_mb: int | None
    total_mb: int | None


# `nvidia-smi --query-gpu=name,utilization.gpu,memory.used,memory.total --format=csv,noheader,nounits`
NVIDIA = ("name", "utilization.gpu", "memory.used", "memory.total")


def from_nvidia(text: str) -> list[Gpu]:
    """One line a card; `[N/A]` and `[Not Supported]` are unknown."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.rsplit(",", len(NVIDIA) - 1)]
        if len(cells) == len(NVIDIA):
            used, total = _number(cells[2]), _number(cells[3])
            found.append(Gpu(cells[0], _number(cells[1]), _whole(used), _whole(total)))
    return found


def from_amd(text: str) -> list[Gpu]:
    """`rocm-smi --showuse --showmeminfo vram --showproductname --json`: an object a card, memory in bytes."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return []
    found = []
    for card, values in sorted(document.items()) if isinstance(document, dict) else ():
        if not card.startswith("card") or not isinstance(values, dict):
            continue
        used, total = (_number(values.get(f"VRAM Total {kind}(B)")) for kind in ("Used Memory ", "Memory "))
        if total is None:
            continue
        names = (values.get("Card Series"), values.get("Card series"), card)
        name = next(text for text in names if text and isinstance(text, str))
        mebibyte = 1024 * 1024
        found.append(
            Gpu(
                name,
                _number(values.get("GPU use (%)")),
                None if used is None else int(used / mebibyte),
                int(total / mebibyte),
            )
        )
    return found


# `nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits`
NVIDIA_PROCESSES = ("pid", "used_memory")


def processes_from_nvidia(text: str) -> dict[int, int]:
    """Bytes of memory by process, its cards added; where a process's share is not told it is left out."""
    found: dict[int, int] = {}
    for line in text.splitlines():
        pid, _comma, mebibytes = line.partition(",")
        used = _number(mebibytes.strip())
        if pid.strip().isdigit() and used is not None:
            found[int(pid)] = found.get(int(pid), 0) + int(used * 1024 * 1024)
    return found


def processes_from_amd(text: str) -> dict[int, int]:
    """`rocm-smi --showpids --json`: `"PID<n>": "<name>, <cards>, <VRAM in bytes>, <SDMA>, <units>"` for the system."""
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    told = document.get("system") if isinstance(document, dict) else None
    found: dict[int, int] = {}
    for key, value in told.items() if isinstance(told, dict) else ():
        # From the end: a name can have a comma of its own.
        cells = [cell.strip() for cell in str(value).split(",")]
        if key.startswith("PID") and key[3:].isdigit() and len(cells) >= 5 and cells[-3].isdigit():
            found[int(key[3:])] = int(cells[-3])
    return found


def summed(cards: t.Sequence[Gpu]) -> dict[str, t.Any]:
    """All cards of a host as one: the busiest share, memories added. Nulls without a card."""
    shares = [card.usage_percent for card in cards if card.usage_percent is not None]
    used = [card.used_mb for card in cards if card.used_mb is not None]
    total = [card.total_mb for card in cards if card.total_mb is not None]
    vram_used, vram_total = (sum(used) if used else None), (sum(total) if total else None)
    return {
        "gpu_usage_percent": max(shares) if shares else None,
        "vram_usage_mb": vram_used,
        "vram_total_mb": vram_total,
        "vram_usage_percent": round(vram_used / vram_total * 100, 1) if vram_used is not None and vram_total else None,
    }


def _number(value: t.Any) -> float | None:
    """A figure; None for what is none, and for the `nan` and the endless numbers that Python reads as such."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number < _MOST else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
