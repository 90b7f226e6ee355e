# SPDX-License-Identifier: GPL-3.0-or-later
"""Every test of faults has the bench."""

from __future__ import annotations

from faults.bench import bench

__all__ = ["bench"]
