# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run at a time may change beside the store: a program, by the address where it answers."""

from __future__ import annotations

import re

from .._api.address import shown_address


def exclusive_at(program: str, address: str) -> str:
    """A name for the program at `address` that can be the name of a lock's file; it has no credentials."""
    return f"{program}-" + re.sub(r"[^\w.-]+", "-", shown_address(address).partition("://")[2])
