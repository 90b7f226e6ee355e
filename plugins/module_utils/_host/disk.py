# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk that a path lies on, or will when it is made."""

from __future__ import annotations

import shutil
from pathlib import Path


def device_of(path: Path) -> int:
    """The disk's number."""
    return _nearest(path).stat().st_dev


def free_bytes(path: Path) -> int:
    return shutil.disk_usage(_nearest(path)).free


def _nearest(path: Path) -> Path:
    """The path, or its nearest parent that is there."""
    while not path.exists():
        path = path.parent
    return path
