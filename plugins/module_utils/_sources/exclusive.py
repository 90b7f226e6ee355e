# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run at a time may change beside the store: a program, by the address where it answers."""

from __future__ import annotations

import re


def exclusive_at(program: str, address: str) -> str:
    """A name for the program at `address` that can be the name of a lock's file."""
    return f"{program}-" + re.sub(r"[^\w.-]+", "-", address.partition("://")[2])
