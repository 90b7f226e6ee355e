# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory limit in a unit's text, as systemd reads it."""

from __future__ import annotations

import pytest
from ansible_collections.llmops.fleet.plugins.module_utils._core.memory_limit import memory_max

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("[Service]\nMemoryMax=24G\n", 24 * GIB),
        ("[Service]\n  MemoryMax = 512M\n", 512 * 2**20),
        ("[Service]\nMemoryMax=1.5G\n", 3 * GIB // 2),
        ("[Service]\nMemoryMax=8000000000\n", 8_000_000_000),
        ("[Service]\nMemoryMax=1T\n", 1024 * GIB),
        ("[Service]\nMemoryMax=25%\n", 16 * GIB),
        ("[Service]\nMemoryMax=0\n", 0),
        ("[Service]\nMemoryMax=8G\nMemoryMax=4G\n", 4 * GIB),
        ("[Service]\nMemoryMax=8G\nMemoryMax=\n", None),
        ("[Service]\nMemoryMax=infinity\n", None),
        ("[Service]\nMemoryMax=much\n", None),
        ("[Service]\n# MemoryMax=1G\nMemoryHigh=1G\n", None),
        ("[Unit]\nMemoryMax=1G\n[Service]\nType=exec\n", None),
        ('{"command": ["x"], "MemoryMax": "1G"}\n', None),
        ("", None),
    ],
)
def test_the_limit_of_a_unit(text: str, limit: int | None) -> None:
    assert memory_max(text, 64 * GIB) == limit
