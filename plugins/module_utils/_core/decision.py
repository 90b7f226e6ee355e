# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runtime that is to be started needs."""

from __future__ import annotations

from dataclasses import dataclass

from .status import Verdict
from .supervisor import Process

KEEP, ACTIVATE, HEAL, RESTART = "keep", "activate", "heal", "restart"


@dataclass(frozen=True)
class Decision:
    """One of `keep`, `activate` (something differs), `heal` (nothing differs and it does not serve), `restart`."""

    action: str
    why: str = ""

    @property
    def changes(self) -> bool:
        return self.action != KEEP


def decide(*, differs: bool, process: Process, enabled: bool, verdict: Verdict, restart: bool) -> Decision:
    """`differs`: files or generation are not what is wanted. `restart`: the user asked for one."""
    if differs:
        return Decision(ACTIVATE)
    if not process.active or verdict.status != "online":
        return Decision(HEAL, "; ".join(verdict.reasons))
    if not enabled:
        return Decision(HEAL, "it would not come back after a boot")
    return Decision(RESTART) if restart else Decision(KEEP)
