# SPDX-License-Identifier: GPL-3.0-or-later
"""How a moment is written: UTC, ISO 8601, whole seconds."""

from __future__ import annotations

from datetime import datetime, timezone


def written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
