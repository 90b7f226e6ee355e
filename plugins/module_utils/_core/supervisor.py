# SPDX-License-Identifier: GPL-3.0-or-later
"""The seam to supervisors: what keeps a runtime's process. They live in `_host/`."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """What a supervisor knows of a runtime's process. Times are seconds since the epoch.

    `members` are the ids of every process that belongs to it, by cgroup or session: also of those that left their
    parent. Without `active` they are what is left of it. `ending`: it runs and was told to stop.
    """

    active: bool = False
    pid: int | None = None
    started_at: float | None = None
    restarts: int = 0
    failing: bool = False
    detail: str = ""
    members: frozenset[int] = frozenset()
    ending: bool = False

    @property
    def left(self) -> frozenset[int]:
        """The members that have outlived it."""
        return frozenset() if self.active or self.ending else self.members


@dataclass(frozen=True)
class Service:
    """What a supervisor is to start or stop; `stop_timeout` is the engine's grace in seconds."""

    name: str
    stop_timeout: int


class Supervisor(t.Protocol):
    """What keeps a runtime's process: systemd, a small keeper of ours where there is none, or somebody else."""

    name: str

    def definition_path(self, runtime: str) -> str: ...

    def process(self, runtime: str) -> Process: ...

    def reload(self) -> None:
        """Make changed definitions known."""

    def check_start(self, service: Service, besides: t.Collection[int] = ()) -> None:
        """Raise `supervisor_failed` where `start` could not start it; the processes `besides` make room first."""

    def start(self, service: Service) -> None:
        """Start it, or start it anew if it runs, and have it started at boot."""

    def stop(self, service: Service) -> None:
        """End it with all its children, also those of a keeper that was killed, and have it stay so at boot."""

    def enabled(self, runtime: str) -> bool:
        """Whether it would come back after a boot, as far as the supervisor can promise that."""

    def forget(self, runtime: str) -> None:
        """Undo what `start` registered, after the definition is gone."""

    def log(self, runtime: str, since: float) -> str:
        """The last lines of the runtime's log that were written after `since`."""
