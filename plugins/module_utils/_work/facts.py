# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of a host: an engine's own file looks, and what it found becomes one fact."""

from __future__ import annotations

import typing as t

from .._core.outcome import Outcome
from .._core.status import PortOwner
from .._host import processes

Params = t.Mapping[str, t.Any]
OwnerOf = t.Callable[[int], t.Optional[PortOwner]]
# Looks at the host; the second argument tells who listens on a port of it.
Look = t.Callable[[Params, OwnerOf], t.Mapping[str, t.Any]]


class FactsTask:
    """Looks, and changes nothing, in check mode and out of it. The fact is called `name`."""

    def __init__(self, name: str, look: Look, params: Params) -> None:
        self._name = name
        self._look = look
        self._params = params

    def run(self, *, check_mode: bool) -> Outcome:
        del check_mode
        found = self._look(self._params, owner_of)
        return Outcome(False, result={"ansible_facts": {self._name: dict(found)}})


def facts(name: str, look: Look) -> t.Callable[[Params], FactsTask]:
    """What makes the task from a module's parameters."""

    def make(params: Params) -> FactsTask:
        return FactsTask(name, look, params)

    return make


def owner_of(port: int) -> PortOwner | None:
    """Who listens on a TCP port; None if nobody does. Raises `library_missing`."""
    return processes.listener(port, besides=None)
