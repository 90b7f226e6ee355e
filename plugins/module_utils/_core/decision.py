# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runtime that is to be started needs."""

from __future__ import annotations

from dataclasses import dataclass

from .status import Verdict
from .supervisor import Process

KEEP, ACTIVATE, HEAL, RESTART = "keep", "activate", "heal", "restart"
WAKE, NOTE, STOP_OTHERS = "wake", "note", "stop others"


@dataclass(frozen=True)
class Decision:
    """What to do.

    `activate`: something differs. `heal`: nothing differs and it does not serve. `wake`: it sleeps. `restart`: that
    was asked for. `note`: only what is remembered of it differs. `stop others`: it serves, and is not alone.
    """

    action: str
    why: str = ""

    @property
    def changes(self) -> bool:
        return self.action != KEEP


def decide(
    *,
    differs: bool,
    process: Process,
    enabled: bool,
    asleep: bool,
    verdict: Verdict,
    restart: bool,
    noted: bool,
    others: tuple[str, ...],
) -> Decision:
    """`differs`: files or generation are not what is wanted. `noted`: what is remembered is what is wanted.

    `restart`: the user asked for one. `others` are runtimes that are up and must not be.
    """
    if differs:
        return Decision(ACTIVATE)
    if process.active and asleep and not restart:
        return Decision(WAKE, "it sleeps")
    if not process.active or verdict.faults:
        return Decision(HEAL, "; ".join(verdict.faults))
    if not enabled:
        return Decision(HEAL, "it would not come back after a boot")
    if restart:
        return Decision(RESTART)
    if others:
        return Decision(STOP_OTHERS, f"{', '.join(others)} must not be up beside it")
    return Decision(KEEP) if noted else Decision(NOTE, "what is remembered of it")
