# SPDX-License-Identifier: GPL-3.0-or-later
"""What GPU tools print, as figures. Two makers, one form."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

_MOST = 1e18
NVIDIA, AMD = "nvidia", "amd"


@dataclass(frozen=True)
class Gpu:
    """One card: busy share in percent, memory in MiB; None where the tool does not say.

    `index` is its number among those of its maker, `uuid` (`GPU-…`) is empty where it is not told.
    """

    name: str
    usage_percent: float | None
    used_mb: int | None
    total_mb: int | None
    maker: str = NVIDIA
    index: int = 0
    uuid: str = ""


@dataclass(frozen=True)
class Holding:
    """Memory that a process holds: bytes, None where they are not told; on the card of that uuid, empty if not told."""

    pid: int
    used_bytes: int | None
    maker: str
    card: str = ""


# `nvidia-smi --query-gpu=name,utilization.gpu,memory.used,memory.total,uuid --format=csv,noheader,nounits`
NVIDIA_CARD = ("name", "utilization.gpu", "memory.used", "memory.total", "uuid")


def from_nvidia(text: str) -> list[Gpu]:
    """One line a card, in the order of their numbers; `[N/A]` and `[Not Supported]` are unknown."""
    found: list[Gpu] = []
    for line in text.splitlines():
        figures, _comma, last = line.rpartition(",")
        uuid = last.strip() if last.strip().startswith("GPU-") else ""
        # From the end: a name can have a comma of its own.
        cells = [cell.strip() for cell in (figures if uuid else line).rsplit(",", 3)]
        if len(cells) == 4:
            used, total = _whole(_number(cells[2])), _whole(_number(cells[3]))
            found.append(Gpu(cells[0], _number(cells[1]), used, total, NVIDIA, len(found), uuid))
    return found


def from_amd(text: str) -> list[Gpu]:
    """`rocm-smi --showuse --showmeminfo vram --showproductname --showuniqueid --json`: an object a card, bytes."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return []
    found = []
    cards = document if isinstance(document, dict) else {}
    for card in sorted(cards, key=lambda name: (len(name), name)):
        values = cards[card]
        if not card.startswith("card") or not card[4:].isdigit() or not isinstance(values, dict):
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
                AMD,
                int(card[4:]),
                _uuid(values.get("Unique ID")),
            )
        )
    return found


def _uuid(said: t.Any) -> str:
    """ROCm's name of a card, by its own number (`0x7f1e`); a card that has none says `N/A`."""
    return f"GPU-{said[2:].lower()}" if isinstance(said, str) and said.startswith("0x") else ""


# `nvidia-smi --query-compute-apps=pid,used_memory,gpu_uuid --format=csv,noheader,nounits`
NVIDIA_PROCESSES = ("pid", "used_memory", "gpu_uuid")


def processes_from_nvidia(text: str) -> list[Holding]:
    """One line for each process on each card."""
    found = []
    for line in text.splitlines():
        pid, mebibytes, uuid = [*(cell.strip() for cell in line.split(",")), "", ""][:3]
        if pid.isdigit() and mebibytes:
            used = _number(mebibytes)
            found.append(Holding(int(pid), None if used is None else int(used * 1024 * 1024), NVIDIA, uuid))
    return found


def processes_from_amd(text: str) -> list[Holding]:
    """`rocm-smi --showpids --json`: `"PID<n>": "<name>, <cards>, <VRAM in bytes>, <SDMA>, <units>"` for the system."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return []
    told = document.get("system") if isinstance(document, dict) else None
    found = []
    for key, value in told.items() if isinstance(told, dict) else ():
        # From the end: a name can have a comma of its own.
        cells = [cell.strip() for cell in str(value).split(",")]
        if key.startswith("PID") and key[3:].isdigit() and len(cells) >= 5 and cells[-3].isdigit():
            found.append(Holding(int(key[3:]), int(cells[-3]), AMD))
    return found


def by_pid(holdings: t.Sequence[Holding]) -> dict[int, int]:
    """Bytes of memory by process, its cards added; where a process's share is not told it is left out."""
    found: dict[int, int] = {}
    for holding in holdings:
        if holding.used_bytes is not None:
            found[holding.pid] = found.get(holding.pid, 0) + holding.used_bytes
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
