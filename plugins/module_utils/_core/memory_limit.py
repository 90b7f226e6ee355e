# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the host's memory a unit may have, by its text."""

from __future__ import annotations

import re

# systemd.resource-control(5): bytes, with K, M, G, T … of 1024, or a share of the machine's memory.
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTPE]?)B?")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)%")


def memory_max(unit: str, total: int) -> int | None:
    """`MemoryMax=` in bytes, on a machine of `total` bytes; None where there is no limit."""
    section, value = "", ""
    for line in (line.strip() for line in unit.splitlines()):
        if line.startswith("["):
            section = line
        key, equals, text = line.partition("=")
        if section == "[Service]" and equals and key.strip() == "MemoryMax":
            # The last one holds, and an empty one takes back those before.
            value = text.strip()
    share, size = _SHARE.fullmatch(value), _SIZE.fullmatch(value)
    if share:
        return int(total * float(share[1]) / 100)
    return int(float(size[1]) * 1024 ** " KMGTPE".index(size[2] or " ")) if size else None
