# SPDX-License-Identifier: GPL-3.0-or-later
"""How a moment is written: UTC, ISO 8601, whole seconds."""

from __future__ import annotations

from datetime import datetime, timezone


def written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(text: str) -> float | None:
    """Seconds since the epoch of a moment so written; None where it is none."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
    except (ValueError, TypeError):
        return None
