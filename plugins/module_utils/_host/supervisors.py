# SPDX-License-Identifier: GPL-3.0-or-later
"""Which supervisor keeps a host's runtimes."""

from __future__ import annotations

from .._core.errors import LlmError
from .._core.layout import Layout
from .._core.supervisor import Supervisor
from .external import ExternalSupervisor
from .place import has_systemd
from .process import ProcessSupervisor
from .systemd import Systemd


def choose(wish: str, layout: Layout, port: int | None = None, host: str = "") -> Supervisor:
    """`auto` is systemd where it runs the host and we are root, `process` otherwise.

    A tree below a prefix has no account of its own, and units are the host's: it is kept by `process` only.
    `external` is known by its port, on the address of `host` alone where that is one.
    """
    if wish == "external":
        if port is None:
            raise LlmError(
                "invalid_input",
                "The supervisor external was asked for without a port.",
                remedy="Set port to the one that it listens on.",
            )
        return ExternalSupervisor(layout, port, host)
    if wish == "systemd" and layout.prefixed:
        raise LlmError(
            "supervisor_failed",
            "The supervisor systemd was asked for together with a prefix.",
            remedy="Leave prefix out, or use supervisor: process.",
        )
    if wish == "systemd" and not has_systemd():
        raise LlmError(
            "supervisor_failed",
            "The supervisor systemd was asked for, and systemd does not run this host or we are not root.",
            remedy="Use become, or supervisor: process.",
        )
    if wish == "systemd" or (wish == "auto" and has_systemd() and not layout.prefixed):
        return Systemd(layout)
    return ProcessSupervisor(layout)
