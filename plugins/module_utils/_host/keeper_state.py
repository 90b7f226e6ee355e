# SPDX-License-Identifier: GPL-3.0-or-later
"""What a keeper says of itself and of its engine, in the runtime's pid file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from . import keeper
from .durable import read_text


@dataclass(frozen=True)
class KeeperState:
    """As the keeper wrote it last. `ticks` are starts as the kernel counts them since the boot; `started_at` is in
    seconds since the epoch. `pid` and `ticks` are None while no engine runs; `ending` says that it was told to stop.
    """

    keeper_pid: int
    keeper_ticks: int | None
    pid: int | None
    ticks: int | None
    started_at: float
    restarts: int
    detail: str
    ending: bool = False

    @property
    def keeper_lives(self) -> bool:
        return keeper.is_alive(self.keeper_pid, self.keeper_ticks)

    @property
    def engine_lives(self) -> bool:
        return self.pid is not None and keeper.is_alive(self.pid, self.ticks)


def read_keeper_state(path: str) -> KeeperState | None:
    """What is in a pid file; None where there is none, or nothing that a keeper writes."""
    try:
        told = json.loads(read_text(Path(path)) or "null")
        return KeeperState(
            keeper_pid=int(told["keeper_pid"]),
            keeper_ticks=_number(told["keeper_ticks"]),
            pid=_number(told["pid"]),
            ticks=_number(told["ticks"]),
            started_at=float(told["started_at"]),
            restarts=int(told["restarts"]),
            detail=str(told["detail"]),
            ending=bool(told.get("ending")),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _number(value: object) -> int | None:
    """Raises TypeError for what is neither a number nor nothing."""
    if value is None or isinstance(value, int):
        return value
    raise TypeError
