# SPDX-License-Identifier: GPL-3.0-or-later
"""Which supervisor keeps a host's runtimes."""

from __future__ import annotations

from .._core.errors import LlmError
from .._core.layout import Layout
from .._core.ports import Supervisor
from .place import has_systemd
from .process import ProcessSupervisor
from .systemd import Systemd


def choose(wish: str, layout: Layout) -> Supervisor:
    """`auto` is systemd where it runs the host and we are root, `process` otherwise."""
    if wish == "systemd" and not has_systemd():
        raise LlmError(
            "supervisor_failed",
            "The supervisor systemd was asked for, and systemd does not run this host or we are not root.",
            remedy="Use become, or supervisor: process.",
        )
    if wish == "systemd" or (wish == "auto" and has_systemd()):
        return Systemd(layout)
    return ProcessSupervisor(layout)
