# SPDX-License-Identifier: GPL-3.0-or-later
"""A running operation as one line for people who watch."""

from __future__ import annotations

from .model import GB
from .operation import Operation

# What is left of a name at least: its first and its last character.
_SHORTEST = 3


def summary_line(operation: Operation, width: int, host: str) -> str:
    """How far a host is with all models of the run."""
    whole = operation.whole_run
    place = f"model {operation.step} of {operation.steps}, " if operation.steps > 1 else ""
    return _line(host, place, operation.model_name, _figures(whole), width)


def progress_line(operation: Operation, width: int, host: str) -> str:
    """How far a host is with this model."""
    return _line(host, "", operation.model_name, _figures(operation), width)


def _line(host: str, place: str, name: str, figures: str, width: int) -> str:
    """At most `width` characters, as long as names can be shortened: figures are what people watch for."""
    room = width - len(f"{host and ' | '}{place}: {figures}")
    if len(host) + len(name) > room:
        # The shorter of the two keeps its length while the longer one can give.
        half = max(room // 2, room - len(host), _SHORTEST)
        name = shortened(name, half)
        host = shortened(host, max(room - len(name), _SHORTEST))
    return f"{host}{host and ' | '}{place}{name}: {figures}"


def _figures(operation: Operation) -> str:
    """Percent, bytes, rate and time to go."""
    parts = [f"{operation.progress} %"]
    if operation.bytes_total:
        parts.append(f"{human(operation.bytes_done)} of {human(operation.bytes_total)}")
    if operation.rate or operation.bytes_done:
        parts.append(f"{operation.rate / 1e6:.1f} MB/s")
    if operation.eta_seconds is not None:
        parts.append(f"{_clock(operation.eta_seconds)} to go")
    return ", ".join(parts)


def shortened(name: str, length: int) -> str:
    """The name in `length` characters: its beginning and its end tell it from its neighbours."""
    if len(name) <= length:
        return name
    kept = max(length, _SHORTEST) - 1
    return f"{name[: (kept + 1) // 2]}…{name[len(name) - kept // 2 :]}"


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
