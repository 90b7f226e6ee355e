# SPDX-License-Identifier: GPL-3.0-or-later
"""A running operation as one line for people who watch."""

from __future__ import annotations

from .model import GB
from .operation import Operation


def progress_line(operation: Operation, width: int) -> str:
    """Model, percent, bytes, rate and time to go; at most `width` characters."""
    parts = [f"{operation.model_name}: {operation.progress} %"]
    if operation.bytes_total:
        parts.append(f"{human(operation.bytes_done)} of {human(operation.bytes_total)}")
    if operation.rate:
        parts.append(f"{operation.rate / 1e6:.1f} MB/s")
    if operation.eta_seconds is not None:
        parts.append(f"{_clock(operation.eta_seconds)} to go")
    line = ", ".join(parts)
    return line if len(line) <= width else line[: max(0, width - 1)] + "…"


def human(count: int) -> str:
    """Bytes in the unit that people would say: 20.0 MB, 4.68 GB."""
    for scale, unit in ((GB, "GB"), (1_000_000, "MB"), (1000, "kB")):
        if count >= scale:
            return f"{count / scale:.{2 if unit == 'GB' else 1}f} {unit}"
    return f"{count} bytes"


def _clock(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
