# SPDX-License-Identifier: GPL-3.0-or-later
"""A port of the loopback that nobody listens on."""

from __future__ import annotations

import socket


def another_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
